/** What the types of AiSearch promise. */
import { Effect, Schema, type Stream } from "effect"
import { AiSearch, type DatabricksError, type Operation, type SqlWarehouse, type UserContext } from "effect-databricks"
import { typeOf } from "./is.ts"

const Article = Schema.Struct({ id: Schema.BigInt, title: Schema.String })

type Failure =
  | DatabricksError.DatabricksError
  | AiSearch.IndexNotReadyError
  | Operation.OperationTimeoutError
  | SqlWarehouse.RowDecodeError

const { query, state, stream } = AiSearch.index("main.support.articles_index")
const search = query(Article)

// A hit has the score apart from the row.
const page = search({ text: "refund" })
typeOf<Effect.Success<typeof page>["hits"][number]>(null!).is<{
  readonly score: number
  readonly row: { readonly id: bigint; readonly title: string }
}>()
typeOf<Effect.Error<typeof page>>(null!).is<Failure>()
typeOf<Effect.Services<typeof page>>(null!).is<AiSearch.AiSearch>()
const hits = stream(Article)({ vector: [1] })
typeOf<Stream.Error<typeof hits>>(null!).is<Failure>()

// A search has a text or a vector.
search({ vector: [0.1], text: "refund", queryType: "hybrid" })
// @ts-expect-error it has neither
search({ numResults: 3 })
// @ts-expect-error no such type of query
search({ text: "refund", queryType: "HYBRID" })

// Filters have operators and values of JSON.
search({
  text: "refund",
  filters: { year: { ">=": 2024, "<": 2026 }, lang: ["en", "de"], id: 1n, paid: { NOT: true } }
})
search({ text: "refund", anyOf: { year: { "<": 2024 }, lang: "en" } })
// @ts-expect-error no such operator
search({ text: "refund", filters: { year: { "=>": 2024 } } })
// @ts-expect-error null matches no row
search({ text: "refund", filters: { lang: null } })
// @ts-expect-error an undefined value would lose the filter
search({ text: "refund", filters: { lang: undefined } })
// @ts-expect-error an undefined value would lose the comparison
search({ text: "refund", filters: { year: { ">=": undefined } } })
// @ts-expect-error one of several values is a filter, not an alternative
search({ text: "refund", anyOf: { lang: ["en", "de"], year: 2024 } })

// Columns belong to the code.
query(Article, { columns: ["id", "title"], rerank: ["title"], timeout: "1 second" })
// @ts-expect-error a search has no columns
search({ text: "refund", columns: ["salary"] })
// @ts-expect-error a stream has no total time limit
stream(Article, { totalTimeout: "1 second" })

// The user's search compiles in the user's call only.
const mine = Effect.flatMap(AiSearch.user, ({ index }) =>
  index("main.support.articles_index").query(Article)({ text: "x" })
)
typeOf<Effect.Services<typeof mine>>(null!).is<UserContext | AiSearch.AiSearch>()
typeOf<Effect.Services<typeof state>>(null!).is<AiSearch.AiSearch>()
