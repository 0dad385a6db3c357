import { assert, layer } from "@effect/vitest"
import { BigDecimal, Context, DateTime, Effect, Exit, Layer, Schema } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import { getWorkspaceClient } from "effect-databricks"
import { vi } from "vitest"
import { areEqual, Parts, written } from "./fixtures/numbers.ts"
import { reasonOf } from "./fixtures/sqlWarehouse.ts"
import { type Seen, wire } from "./fixtures/wire.ts"

/** A workspace that answers every request with this JSON. */
class Answers extends Context.Service<Answers, { json: string; readonly seen: ReadonlyArray<Seen> }>()("test/Answers") {
  static readonly layer = Layer.unwrap(
    Effect.gen(function* () {
      const answers = { json: "{}", seen: [] as ReadonlyArray<Seen> }
      const { layer, seen } = yield* wire((response) =>
        response.writeHead(200, { "content-type": "application/json" }).end(answers.json)
      )
      answers.seen = seen
      return Layer.merge(layer, Layer.succeed(Answers, answers))
    })
  )
}

const path = "/api/2.1/jobs/runs/get"

const answering = (json: string) => Answers.useSync((answers) => void (answers.json = json))

const decoded = <S extends Schema.Constraint>(json: string, schema: S) =>
  Effect.andThen(
    answering(json),
    Effect.flatMap(getWorkspaceClient, (_) => _.requestJson(HttpClientRequest.get(path), schema))
  )

const id = "1121234567890123457"

layer(Answers.layer)("WorkspaceClient", (it) => {
  it.effect("decodes an integer beyond 2^53 exactly by BigInt, String and BigDecimal (requestJson)", () =>
    Effect.gen(function* () {
      const json = `{"run_id": ${id}}`
      assert.deepStrictEqual(yield* decoded(json, Schema.Struct({ run_id: Schema.BigInt })), { run_id: BigInt(id) })
      assert.deepStrictEqual(yield* decoded(json, Schema.Struct({ run_id: Schema.String })), { run_id: id })
      const { run_id } = yield* decoded(json, Schema.Struct({ run_id: Schema.BigDecimal }))
      assert.deepStrictEqual(run_id, BigDecimal.fromBigInt(BigInt(id)))
      assert.deepStrictEqual(yield* decoded(json, Schema.Unknown), { run_id: id })
    })
  )

  it.effect("refuses an integer beyond 2^53 by Number, Finite and Int, and names the field (requestJson)", () =>
    Effect.forEach([Schema.Number, Schema.Finite, Schema.Int, Schema.NullOr(Schema.Number)], (number) =>
      Effect.gen(function* () {
        const Runs = Schema.Struct({ runs: Schema.Array(Schema.Struct({ run_id: number })) })
        const reason = yield* reasonOf(decoded(`{"runs":[{"run_id":1},{"run_id":-${id}}]}`, Runs))
        assert.strictEqual(
          reason.message,
          `GET ${path} answered 200 with JSON that does not match its schema: "runs.1.run_id": the number has digits that a JavaScript number would lose: use Schema.BigInt, Schema.BigDecimal or Schema.String`
        )
      })
    )
  )

  it.effect("decodes small and large numbers where a Schema takes text, in every kind of Schema (requestJson)", () =>
    Effect.gen(function* () {
      class Run extends Schema.Class<Run>("test/Run")({ id: Schema.String, of: Schema.optional(Schema.BigInt) }) {}
      interface Tree {
        readonly id: string
        readonly below: ReadonlyArray<Tree>
      }
      const Tree = Schema.Struct({
        id: Schema.String,
        below: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
      })
      const All = Schema.Struct({
        run: Run,
        small: Schema.BigInt,
        tree: Tree,
        pair: Schema.Tuple([Schema.Number, Schema.String]),
        list: Schema.Array(Schema.BigInt),
        byName: Schema.Record(Schema.String, Schema.NullOr(Schema.String)),
        either: Schema.Union([
          Schema.Struct({ kind: Schema.Literal("a"), id: Schema.String }),
          Schema.Struct({ kind: Schema.Literal("b"), id: Schema.BigInt })
        ]),
        any: Schema.Union([Schema.Number, Schema.String]),
        number: Schema.Number,
        renamed: Schema.Struct({ key: Schema.String }).pipe(Schema.encodeKeys({ key: "id" }))
      })
      const json = `{"run":{"id":7,"of":${id}},"small":7,"tree":{"id":1,"below":[{"id":${id},"below":[]}]},"pair":[1.5,2],
        "list":[1,${id},-0],"byName":{"a":1e3,"__proto__":${id},"b":null},"either":{"kind":"b","id":12},"any":5,"number":1e-7,
        "renamed":{"id":8}}`
      assert.deepStrictEqual(yield* decoded(json, All), {
        run: new Run({ id: "7", of: BigInt(id) }),
        small: 7n,
        tree: { id: "1", below: [{ id, below: [] }] },
        pair: [1.5, "2"],
        list: [1n, BigInt(id), 0n],
        byName: Object.fromEntries([
          ["a", "1000"],
          ["__proto__", id],
          ["b", null]
        ]),
        either: { kind: "b", id: 12n },
        any: 5,
        number: 1e-7,
        renamed: { key: "8" }
      })
    })
  )

  it.effect("reads a date without a zone as UTC, in every time zone of the process (requestJson)", () =>
    Effect.gen(function* () {
      vi.stubEnv("TZ", "America/New_York")
      const At = Schema.Struct({ at: Schema.Array(Schema.NullOr(Schema.Date)), by: Schema.DateTimeUtc })
      const text = "2026-01-31T23:30:00"
      const got = yield* decoded(JSON.stringify({ at: [text, null, `${text}-05:00`], by: text }), At)
      const date = new Date(`${text}Z`)
      assert.deepStrictEqual(got.at, [date, null, new Date("2026-02-01T04:30Z")])
      assert.strictEqual(DateTime.formatIso(got.by), date.toISOString())
    }).pipe(Effect.ensuring(Effect.sync(() => vi.unstubAllEnvs())))
  )

  const sdkPath = "/api/2.2/jobs/runs/get"
  const call = Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.jobs.getRun({ run_id: 1 })))

  it.effect("refuses an answer with a number that JavaScript rounds, and advises requestJson (use)", () =>
    Effect.gen(function* () {
      for (const [json, name] of [
        [`{"run_id":${id}}`, "run_id"],
        [`{"tasks":[{"task_key":"a","run_id":${id}}]}`, "run_id"],
        [`{"a":[1,9007199254740993.5]}`, "1"],
        [`{"x":1e400}`, "x"]
      ] as const) {
        yield* answering(json)
        const reason = yield* reasonOf(call)
        assert.strictEqual(reason._tag, "InvalidResponseError")
        assert.strictEqual(
          reason.message,
          `GET ${sdkPath} answered 200 with a number in "${name}" that the SDK would round: make this call with requestJson, with Schema.BigInt or Schema.String`
        )
      }
      yield* answering(`{"run_id":9007199254740991,"run_name":"${id}"}`)
      assert.deepStrictEqual(yield* call, { run_id: Number.MAX_SAFE_INTEGER, run_name: id })
    })
  )

  it.effect(
    "sends a bigint exactly, and refuses an integer beyond 2^53, NaN and Infinity, in bodies and queries (use)",
    () =>
      Effect.gen(function* () {
        const { seen } = yield* Answers
        yield* answering("{}")
        const client = yield* getWorkspaceClient
        // The SDK's types have no bigint.
        const exact = BigInt(id) as unknown as number
        yield* client.use((sdk) => sdk.jobs.repairRun({ run_id: exact, rerun_tasks: ["a"] }))
        assert.strictEqual(seen.at(-1)!.body, `{"rerun_tasks":["a"],"run_id":${id}}`)
        yield* client.use((sdk) => sdk.jobs.getRun({ run_id: exact }))
        assert.strictEqual(seen.at(-1)!.url, `${sdkPath}?run_id=${id}`)
        const before = seen.length
        const run_id = Number(id)
        for (const wrong of [
          client.use((sdk): Promise<unknown> => sdk.jobs.repairRun({ run_id, rerun_tasks: ["a"] })),
          client.use((sdk): Promise<unknown> => sdk.jobs.getRun({ run_id }))
        ]) {
          assert.strictEqual(
            (yield* reasonOf(wrong)).message,
            `The request's "run_id" is an integer beyond 2^53, which JavaScript may have rounded: pass it as a bigint`
          )
        }
        for (const value of [Number.NaN, Infinity]) {
          const wrong = client.use((sdk) => sdk.servingEndpoints.query({ name: "m", inputs: [1, value] }))
          const { message } = yield* reasonOf(wrong)
          assert.strictEqual(message, `The request's "1" is ${value}, which JSON cannot represent`)
        }
        assert.strictEqual(seen.length, before)
      })
  )

  it.effect.prop(
    "decodes every JSON number exactly or refuses it, by every Schema and by the SDK",
    { parts: Parts, deep: Schema.Boolean },
    ({ deep, parts }) =>
      Effect.gen(function* () {
        const number = written(parts)
        const json = deep ? `{"x": [{"x": ${number}}]}` : `{"x":${number}}`
        const exact = Effect.fnUntraced(function* <A, E, R>(run: Effect.Effect<A, E, R>) {
          const exit = yield* Effect.exit(run)
          if (Exit.isFailure(exit)) {
            assert.strictEqual((yield* reasonOf(exit))._tag, "InvalidResponseError")
            return false
          }
          const first = (exit.value as { readonly x: unknown }).x
          const x = deep ? (first as ReadonlyArray<{ readonly x: unknown }>)[0]!.x : first
          const text = BigDecimal.isBigDecimal(x) ? BigDecimal.format(x) : String(x)
          assert.isTrue(areEqual(text, number), `${number} became ${text}`)
          return true
        })
        const by = <A>(schema: Schema.Codec<A, unknown>) => {
          const Within: Schema.Codec<unknown, unknown> = deep
            ? Schema.Struct({ x: Schema.Array(Schema.Struct({ x: schema })) })
            : Schema.Struct({ x: schema })
          return decoded(json, Within)
        }
        assert.isTrue(yield* exact(by(Schema.String)))
        assert.isTrue(yield* exact(by(Schema.BigDecimal)))
        assert.isTrue(yield* exact(by(Schema.Unknown)))
        assert.isTrue((yield* exact(by(Schema.BigInt))) || !/^-?\d+$/.test(number), number)
        yield* exact(by(Schema.Number))
        yield* exact(by(Schema.Int))
        yield* answering(json)
        yield* exact(call)
        yield* exact(
          Effect.flatMap(getWorkspaceClient, (_) =>
            Effect.flatMap(_.request(HttpClientRequest.get(path)), (_) => _.json)
          )
        )
      })
  )

  it.effect("keeps integers beyond 2^53 as text in the json of a response (request)", () =>
    Effect.gen(function* () {
      yield* answering(`{"run_id":${id},"x":1}`)
      const response = yield* Effect.flatMap(getWorkspaceClient, (_) => _.request(HttpClientRequest.get(path)))
      assert.deepStrictEqual(yield* response.json, { run_id: id, x: 1 })
      const Run = Schema.Struct({ run_id: Schema.BigInt })
      assert.deepStrictEqual(yield* HttpClientResponse.schemaBodyJson(Run)(response), { run_id: BigInt(id) })
      yield* answering("{")
      const broken = yield* Effect.flatMap(getWorkspaceClient, (_) => _.request(HttpClientRequest.get(path)))
      const error = yield* Effect.flip(broken.json)
      assert.strictEqual(error.reason._tag, "DecodeError")
      assert.notInclude(JSON.stringify([error, error.request.headers]), "wire-token")
    })
  )
})
