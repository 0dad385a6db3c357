/** Reads the definitions of metric views, in the form of AppKit's file. */
import { Effect, FileSystem, Schema } from "effect"
import type { Definition } from "../../MetricView.ts"
import { MetricDefinitionError } from "../../MetricViewError.ts"

// A name of Unity Catalog has no dots, blanks, slashes or control characters.
const part = String.raw`[^\x00-\x20\x7f./]{1,255}`

const Definitions = Schema.Struct({
  $schema: Schema.optional(Schema.String),
  metricViews: Schema.Record(
    Schema.String,
    Schema.Struct({
      source: Schema.String.check(
        Schema.isPattern(new RegExp(`^${part}\\.${part}\\.${part}$`), {
          expected: "a source catalog.schema.view"
        })
      ),
      executor: Schema.optional(Schema.Literals(["app_service_principal", "user"]))
    })
  )
})

/** Decodes the content of a file; `from` names it in the error. */
export const decode = (
  content: unknown,
  from: string
): Effect.Effect<ReadonlyMap<string, Definition>, MetricDefinitionError> =>
  Schema.decodeUnknownEffect(Definitions)(content, { onExcessProperty: "error", errors: "all" }).pipe(
    Effect.map(
      ({ metricViews }) =>
        new Map(
          Object.entries(metricViews).map(([key, { executor = "app_service_principal", source }]) => [
            key,
            { key, source, executor }
          ])
        )
    ),
    Effect.mapError(({ message }) => new MetricDefinitionError({ message: `${from} is not usable: ${message}` }))
  )

/** Reads and decodes a file. */
export const read = (file: string) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const text = yield* Effect.mapError(
      files.readFileString(file),
      ({ message }) =>
        new MetricDefinitionError({
          message: `${file} cannot be read: ${message}. A relative path starts at ${process.cwd()}`
        })
    )
    const content = yield* Effect.try({
      try: (): unknown => JSON.parse(text),
      catch: (cause) => new MetricDefinitionError({ message: `${file} is not JSON: ${String(cause)}` })
    })
    return yield* decode(content, file)
  })
