/** The routes of AI Search: alias → definition → query within it → hits. */
import { Duration, Effect, Redacted, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import * as Search from "../../../AiSearch.ts"
import type { Index, Options } from "../../../appkit/AiSearch.ts"
import * as Policy from "../../../appkit/Policy.ts"
import * as ExecutionContext from "../../../ExecutionContext.ts"
import * as HttpFailure from "../../../http/HttpFailure.ts"
import * as Failure from "../failure.ts"
import * as Json from "../json.ts"
import * as Routes from "../routes.ts"
import * as Pages from "./pages.ts"
import { allowed, defaultMaxResults, NextPage, Query } from "./request.ts"

/** The part of the definitions that the page knows. */
export const listed = (indexes: Options["indexes"]) =>
  Object.entries(indexes).map(([alias, { pagination = false, queryType = "ann" }]) => ({
    alias,
    queryType,
    pagination
  }))

export const make = ({ indexes, pageTokenKey }: Options) => {
  const all = new Map(Object.entries(indexes))
  const pages = Pages.make(pageTokenKey && Redacted.value(pageTokenKey))

  const found = Effect.flatMap(HttpRouter.params, ({ alias = "" }) => {
    const index = all.get(alias)
    return index === undefined
      ? Effect.fail(Failure.refusal(404, `No index configured with alias "${alias}"`, "NotFound"))
      : Effect.succeed({ alias, index })
  })

  const ownerOf = (alias: string) => Effect.map(Routes.sender, (sender): Pages.Owner => [sender, alias])

  const query = Effect.gen(function* () {
    const { alias, index } = yield* found
    const { columns, queryType, rerank, search } = yield* Effect.flatMap(body(Query), (_) => allowed(index, _))
    return yield* answer(alias, index, { columns, queryType }, (_) => _.query(Row, { columns, rerank })(search))
  })

  const nextPage = Effect.gen(function* () {
    const { alias, index } = yield* found
    const { pageToken } = yield* body(NextPage)
    const page = pages.open(yield* ownerOf(alias), pageToken)
    // A key of the application outlives its definitions.
    if (!index.pagination || page === undefined || page.columns.some((_) => !index.columns.includes(_))) {
      return yield* Effect.fail(Failure.refusal(400, "This page is not available any more: search again"))
    }
    const { columns, token } = page
    return yield* answer(alias, index, page, (_) => _.nextPage(Row, { columns })(token))
  })

  const answer = Effect.fnUntraced(function* <E>(
    alias: string,
    index: Index,
    { columns, queryType }: Pick<Pages.Page, "columns" | "queryType">,
    search: (index: Search.Index) => Effect.Effect<Search.Page<typeof Row.Type>, E>
  ) {
    const [duration, { hits, nextPageToken, responseTime, rowCount }] = yield* Effect.timed(run(alias, index, search))
    const token =
      index.pagination && nextPageToken !== undefined
        ? pages.seal(yield* ownerOf(alias), { columns, queryType, token: nextPageToken })
        : null
    return HttpServerResponse.jsonUnsafe({
      results: hits.map(({ row, score }) => ({ score, data: row })),
      totalCount: rowCount,
      queryTimeMs: Duration.toMillis(responseTime ?? duration),
      queryType,
      nextPageToken: token
    })
  })

  const config = Effect.map(found, ({ alias, index }) => {
    const { columns, filters = [], maxResults = defaultMaxResults, pagination = false, queryType = "ann" } = index
    return HttpServerResponse.jsonUnsafe({ alias, queryType, pagination, columns, filters, maxResults })
  })

  return [
    Routes.asEither("POST", "/:alias/query", query),
    Routes.asEither("POST", "/:alias/next-page", nextPage),
    Routes.asEither(
      "GET",
      "/config",
      Effect.sync(() => HttpServerResponse.jsonUnsafe({ indexes: listed(indexes) }))
    ),
    Routes.asEither("GET", "/:alias/config", config)
  ]
}

const Row = Schema.Record(Schema.String, Schema.Unknown)

// A field that is ignored could be a filter with a mistyped name.
const body = <S extends Schema.ConstraintDecoder<unknown>>(schema: S) =>
  HttpFailure.orBadRequest(
    Effect.flatMap(Json.body(Json.withBigInts), Schema.decodeUnknownEffect(schema, { onExcessProperty: "error" }))
  )

/** Runs as the definition says: as the user or a 401, or as the app if its policy allows it. */
const run = Effect.fnUntraced(function* <A, E>(
  alias: string,
  definition: Index,
  search: (index: Search.Index) => Effect.Effect<A, E>
) {
  const { endpoint, index: name } = definition
  const of = ({ index }: Search.AiSearch["Service"]) => search(index(name, { endpoint }))
  if (definition.runsAs !== "service") return yield* Routes.ofUser(Effect.flatMap(Search.user, of))
  yield* Routes.allow(definition.policy ?? Policy.readOnly, "search", alias)
  return yield* ExecutionContext.asService(Effect.flatMap(Search.AiSearch, of))
})
