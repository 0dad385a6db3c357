/** `effect-databricks generate`: writes the types of the named queries, as the warehouse describes them. */
import { Console, Data, Effect, Layer, Option, Runtime } from "effect"
import { Command, Flag } from "effect/cli"
import { messageOf } from "../../internal/message.ts"
import type { Definition } from "../../Queries.ts"
import * as ServiceContext from "../../ServiceContext.ts"
import * as SqlWarehouse from "../../SqlWarehouse.ts"
import { describe, type Options } from "./describe.ts"
import { ofQueries } from "./module.ts"
import { ofRegistry } from "./registry.ts"
import { generate as generated, type Generated, type Target, write } from "./run.ts"
import type { Column } from "./types.ts"
import { watch as watching } from "./watch.ts"

/** The run has failed. What it printed says why, so the error is not printed again. */
class Failed extends Data.TaggedError("Failed") {
  override readonly [Runtime.errorReported] = false
}

const flags = {
  directory: Flag.String("directory").pipe(
    Flag.withDescription("The directory of the .sql files"),
    Flag.withDefault("config/queries")
  ),
  output: Flag.String("output").pipe(Flag.withDescription("The module to write"), Flag.withDefault("src/queries.ts")),
  queryRegistry: Flag.String("query-registry").pipe(
    Flag.withDescription("A .d.ts to write for front ends with AppKit's hooks, such as web/queries.d.ts"),
    Flag.optional
  ),
  warehouse: Flag.String("warehouse").pipe(
    Flag.withDescription("The id of the SQL warehouse; DATABRICKS_WAREHOUSE_ID if absent"),
    Flag.optional
  ),
  catalog: Flag.String("catalog").pipe(
    Flag.withDescription("The catalog in which the names of the statements are looked up"),
    Flag.optional
  ),
  schema: Flag.String("schema").pipe(
    Flag.withDescription("The schema in which the names of the statements are looked up"),
    Flag.optional
  ),
  check: Flag.Boolean("check").pipe(
    Flag.withDescription("Write nothing, and exit with 1 if a file is out of date"),
    Flag.withDefault(false)
  ),
  watch: Flag.Boolean("watch").pipe(
    Flag.withDescription("Go on, and describe each file that is new or changes"),
    Flag.withDefault(false)
  )
}

export const generate = Command.make(
  "generate",
  flags,
  Effect.fn(
    function* ({ catalog, check, directory, output, queryRegistry, schema, warehouse, watch }) {
      if (check && watch) return yield* stop("--check and --watch exclude each other: give one of them")
      if (Option.contains(queryRegistry, output)) {
        return yield* stop("--output and --query-registry name one file: give two")
      }
      const targets: ReadonlyArray<Target> = [
        { path: output, document: ofQueries },
        ...Option.toArray(Option.map(queryRegistry, (path) => ({ path, document: ofRegistry })))
      ]
      const describer = makeDescriber({
        warehouseId: Option.getOrUndefined(warehouse),
        catalog: Option.getOrUndefined(catalog),
        schema: Option.getOrUndefined(schema)
      })
      const once = Effect.gen(function* () {
        const { files, problems } = yield* generated(directory, targets, describer)
        yield* Effect.forEach(problems, ({ file, line, reason }) => Console.error(`${file}:${line}: ${reason}`))
        const outdated = files.filter(({ before, text }) => before !== text)
        if (!check) yield* Effect.forEach(outdated, write)
        yield* Effect.forEach(files, check ? tellOutdated : tellWritten)
        if (problems.length > 0 || (check && outdated.length > 0)) return yield* new Failed()
      })
      const reported = Effect.catch(once, (error) =>
        error instanceof Failed ? Effect.fail(error) : stop(messageOf(error))
      )
      const Warehouse = SqlWarehouse.layer.pipe(Layer.provide(ServiceContext.layerConfig()))
      if (watch) yield* Effect.provide(watching(directory, Effect.ignore(reported)), Warehouse)
      else yield* Effect.provide(reported, Warehouse)
    },
    Effect.catch((error) => (error instanceof Failed ? Effect.fail(error) : stop(messageOf(error))))
  )
).pipe(
  Command.withDescription(
    "Write a module with the types of the named queries, as the warehouse describes them. Exits with 1 if it cannot describe one, whose entry stays as it was"
  )
)

const stop = (message: string) => Effect.andThen(Console.error(message), new Failed())

const counted = (size: number) => (size === 1 ? "1 query" : `${size} queries`)

const tellWritten = ({ before, changes, path, size, text }: Generated) =>
  Console.log(
    before === text
      ? `${path} is up to date: ${counted(size)}`
      : [`${path} is written: ${counted(size)}`, ...changes.map((change) => `  ${change}`)].join("\n")
  )

const tellOutdated = ({ before, changes, path, size, text }: Generated) =>
  before === text
    ? Console.log(`${path} is up to date: ${counted(size)}`)
    : Console.error(
        [
          `${path} ${before === undefined ? "is missing" : "is out of date"}: run effect-databricks generate`,
          ...changes.map((change) => `  ${change}`)
        ].join("\n")
      )

/** Describes a query once for each text of its file, and tells once that the warehouse starts. */
const makeDescriber = (options: Options) => {
  const known = new Map<string, { readonly text: string; readonly columns: ReadonlyArray<Column> }>()
  let told = false
  const onProgress: Options["onProgress"] = ({ state }) => {
    if (told || state !== "STARTING") return Effect.void
    told = true
    return Console.error("The warehouse is starting, which may take minutes …")
  }
  return (definition: Definition, text: string) => {
    const { path } = definition
    const before = known.get(path)
    return before?.text === text
      ? Effect.succeed(before.columns)
      : Effect.tap(describe(definition, { ...options, onProgress }), (columns) =>
          Effect.sync(() => known.set(path, { text, columns }))
        )
  }
}
