import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { OtlpSerialization } from "effect/observability"
import * as OtlpProtobuf from "../../../src/internal/telemetry/otlpProtobuf.ts"

const list = <S extends Schema.Constraint>(of: S, most: number) =>
  Schema.mutable(Schema.Array(of).check(Schema.isMaxLength(most)))

const Text = Schema.Union([Schema.String, Schema.Literals(["", "é😀", "half \ud83d of a pair", "x".repeat(200)])])

const Scalar = Schema.Union([
  Schema.Struct({ stringValue: Text }),
  Schema.Struct({ boolValue: Schema.Boolean }),
  Schema.Struct({
    intValue: Schema.Union([Schema.Int, Schema.Literals(["9223372036854775807", "-9007199254740993"])])
  }),
  Schema.Struct({ doubleValue: Schema.Number })
])

const Value = Schema.Union([Scalar, Schema.Struct({ arrayValue: Schema.Struct({ values: list(Scalar, 3) }) })])

const Attributes = list(Schema.Struct({ key: Text, value: Value }), 4)

const Nanos = Schema.Literals(["0", "1764216000123456789", "9223372036854775807"])

const TraceId = Schema.Literals(["00000000000000000000000000000000", "0af7651916cd43dd8448eb211c80319c"])

const SpanId = Schema.Literals(["b7ad6b7169203331", "00000000000000ff"])

const Span = Schema.Struct({
  traceId: TraceId,
  spanId: SpanId,
  parentSpanId: Schema.UndefinedOr(SpanId),
  name: Text,
  kind: Schema.Literals([0, 1, 2, 3, 4, 5]),
  startTimeUnixNano: Nanos,
  endTimeUnixNano: Nanos,
  attributes: Attributes,
  droppedAttributesCount: Schema.Literal(0),
  events: list(
    Schema.Struct({
      name: Text,
      timeUnixNano: Nanos,
      attributes: Attributes,
      droppedAttributesCount: Schema.Literal(0)
    }),
    2
  ),
  droppedEventsCount: Schema.Literal(0),
  status: Schema.Union([
    Schema.Struct({ code: Schema.Literals([0, 1]) }),
    Schema.Struct({ code: Schema.Literal(2), message: Schema.NonEmptyString })
  ]),
  links: list(
    Schema.Struct({
      traceId: TraceId,
      spanId: SpanId,
      attributes: Attributes,
      droppedAttributesCount: Schema.Literal(0)
    }),
    2
  ),
  droppedLinksCount: Schema.Literal(0)
})

const Log = Schema.Struct({
  timeUnixNano: Nanos,
  observedTimeUnixNano: Nanos,
  severityNumber: Schema.Literals([1, 9, 21]),
  severityText: Schema.Literal("Info"),
  body: Value,
  attributes: Attributes,
  droppedAttributesCount: Schema.Literal(0),
  ids: Schema.UndefinedOr(Schema.Struct({ traceId: TraceId, spanId: SpanId }))
})

const resource = { attributes: [{ key: "service.name", value: { stringValue: "shop" } }], droppedAttributesCount: 0 }
const scope = { name: "effect", version: "4" }

/** What either makes of it. */
const both = (write: (of: OtlpSerialization.OtlpSerialization["Service"]) => unknown) =>
  Effect.forEach([OtlpProtobuf.layer, OtlpSerialization.layerProtobuf], (layer) =>
    Effect.map(OtlpSerialization.OtlpSerialization, write).pipe(Effect.provide(layer))
  )

describe("OTLP as protobuf", () => {
  it.effect.prop("has of spans the bytes that Effect's encoder makes", { spans: list(Span, 4) }, ({ spans }) =>
    Effect.gen(function* () {
      const data = { resourceSpans: [{ resource, scopeSpans: [{ scope, spans }] }] }
      const [ours, effects] = yield* both((_) => _.traces(data))
      assert.deepStrictEqual(ours, effects)
    })
  )

  it.effect.prop("and of logs", { logs: list(Log, 4) }, ({ logs }) =>
    Effect.gen(function* () {
      const logRecords = logs.map(({ ids, ...log }) => ({ ...log, ...ids }))
      const [ours, effects] = yield* both((_) =>
        _.logs({ resourceLogs: [{ resource, scopeLogs: [{ scope, logRecords }] }] })
      )
      assert.deepStrictEqual(ours, effects)
    })
  )
})
