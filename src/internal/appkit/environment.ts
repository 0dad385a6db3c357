/** What the environment names for the plugins, in AppKit's variables. */
import { Config, ConfigProvider, Effect, Option, Record, Schema } from "effect"
import * as Jobs from "../../Jobs.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import { refused } from "../workspace/settings.ts"

/** The most variables whose names differ only in a number at their end. */
const mostNumbers = 1_000

/** Returns the variables whose names begin with `start`, by the rest of their names. A blank value counts as absent. */
export const family = Effect.fnUntraced(function* (start: string) {
  const provider = yield* ConfigProvider.ConfigProvider
  const found: Array<readonly [string, string]> = []
  const walk: (path: ReadonlyArray<string>) => Effect.Effect<void, Config.ConfigError> = Effect.fnUntraced(
    function* (path) {
      const node = yield* Effect.mapError(provider.load(path), (error) => new Config.ConfigError(error))
      const name = path.join("_")
      const value = node?.value?.trim() ?? ""
      if (value !== "" && name.startsWith(start) && name !== start) found.push([name.slice(start.length), value])
      for (const key of yield* keysOf(node, name)) {
        const longer = [...path, key].join("_")
        // A provider may have a name as one key, or as a key for each of its words.
        if (longer.startsWith(start) || start.startsWith(`${longer}_`)) yield* walk([...path, key])
      }
    }
  )
  yield* walk([])
  return found
})

const keysOf = (node: ConfigProvider.Node | undefined, name: string) => {
  if (node === undefined || node._tag === "Value") return Effect.succeed([])
  if (node._tag === "Record") return Effect.succeed([...node.keys])
  return node.length > mostNumbers
    ? refused(`${name}_${node.length - 1} ends with a number above ${mostNumbers - 1}: give the variable a name`)
    : Effect.succeed(Array.from({ length: node.length }, (_, index) => String(index)))
}

const isVolume = /^\/Volumes\/[^/]+\/[^/]+\/[^/]+/

/** Returns the volumes of `DATABRICKS_VOLUME_<KEY>` by their keys in lower case. */
export const volumes = Effect.gen(function* () {
  const variables = yield* family("DATABRICKS_VOLUME_")
  for (const [key, path] of variables) {
    if (!isVolume.test(path)) {
      return yield* refused(
        `DATABRICKS_VOLUME_${key} is not the path of a volume, such as /Volumes/main/app/uploads: ${path.slice(0, 100)}`
      )
    }
  }
  return Object.fromEntries(variables.map(([key, path]) => [key.toLowerCase(), path]))
})

const text = (name: string) =>
  Config.map(Config.withDefault(Config.String(name), ""), (value) => (value.trim() === "" ? undefined : value.trim()))

/** Returns the Genie spaces by alias: that of `DATABRICKS_GENIE_SPACE_ID` as `default`. */
export const spaces = Config.map(text("DATABRICKS_GENIE_SPACE_ID"), (id): Readonly<Record<string, string>> =>
  id === undefined ? {} : { default: id }
)

/** Fails if the application has no warehouse. */
export const warehouseFor = (path: string) =>
  Effect.flatMap(ServiceContext, ({ warehouseId }) =>
    Option.isSome(warehouseId) ? Effect.void : refused(`${path} needs a SQL warehouse: set DATABRICKS_WAREHOUSE_ID`)
  )

/** Returns the model serving endpoint of `DATABRICKS_SERVING_ENDPOINT_NAME`. */
export const endpoint = text("DATABRICKS_SERVING_ENDPOINT_NAME")

/** Returns the jobs of `DATABRICKS_JOB_<KEY>` by their keys in lower case, and that of `DATABRICKS_JOB_ID` as `default`. */
export const jobs = Effect.gen(function* () {
  const variables = yield* family("DATABRICKS_JOB_")
  for (const [key, id] of variables) {
    if (!/^[1-9]\d{0,18}$/.test(id)) {
      return yield* refused(
        `DATABRICKS_JOB_${key} is not the id of a job, a number of at most 19 digits: ${id.slice(0, 100)}`
      )
    }
  }
  const ids = Object.fromEntries(variables.map(([key, id]) => [key === "ID" ? "default" : key.toLowerCase(), id]))
  return Record.map(ids, (id) => ({ job: Jobs.job({ id, parameters: none }) }))
})

// The environment has no Schema of a job's parameters, so a request may send none.
const none = Schema.Record(Schema.String, Schema.Never)
