/** The names of the columns of an Arrow result, which the stream itself calls `col_0`, `col_1`, …. */
import { Cache, Effect, Option } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import * as Caller from "../../../Caller.ts"
import * as ExecutionContext from "../../../ExecutionContext.ts"
import type { ServiceContext } from "../../../ServiceContext.ts"
import type { Arrow } from "../../../SqlWarehouse.ts"
import * as SteadyClock from "../../steadyClock.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"

/** The names that did not fit into a header, by their statement and the caller who may ask for them. */
export interface Columns {
  /** Returns the header with the names, or with the id by which the same caller gets them. */
  readonly header: (result: Arrow) => Effect.Effect<Readonly<Record<string, string>>, never, ServiceContext>
  readonly get: (statementId: string) => Effect.Effect<Option.Option<ReadonlyArray<string>>, never, ServiceContext>
}

// Proxies limit all headers together to 8 KiB.
const longestHeader = 6_000

const keyOf = (statementId: string) =>
  Effect.map(ExecutionContext.current, (caller) => `${Caller.key(caller)} ${statementId}`)

export const make: Effect.Effect<Columns> = Effect.gen(function* () {
  const clock = yield* SteadyClock.context
  const cache = yield* Cache.make<string, ReadonlyArray<string>>({
    capacity: 100,
    timeToLive: "1 hour", // the longest download
    lookup: () => Effect.die("names are only set") // `getOption` never looks up
  })
  return {
    get: (statementId) =>
      Effect.flatMap(keyOf(statementId), (key) => Effect.provideContext(Cache.getOption(cache, key), clock)),
    header: ({ columns, statementId }) => {
      const names = columns.map(({ name }) => name)
      const text = encodeURIComponent(JSON.stringify(names).toWellFormed())
      return text.length <= longestHeader
        ? Effect.succeed({ "x-appkit-arrow-columns": text })
        : Effect.map(
            Effect.flatMap(keyOf(statementId), (key) => Effect.provideContext(Cache.set(cache, key, names), clock)),
            () => ({ "x-appkit-arrow-columns-ref": statementId })
          )
    }
  }
})

export const route = ({ get }: Columns) =>
  Routes.asEither(
    "GET",
    "/columns/:statementId",
    Effect.gen(function* () {
      const { statementId = "" } = yield* HttpRouter.params
      const columns = yield* get(statementId)
      return Option.isSome(columns)
        ? HttpServerResponse.jsonUnsafe(
            { columns: columns.value },
            { headers: { "cache-control": "private, no-store" } }
          )
        : yield* Failure.refusal(404, "The columns of this result are not known", "NotFound")
    })
  )
