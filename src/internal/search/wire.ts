/** The responses of AI Search: pages of hits, and the state of an index. */
import { Duration, Effect, Schema } from "effect"
import type { HttpClientResponse } from "effect/http"
import type { Page, State } from "../../AiSearch.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { RowDecodeError } from "../../SqlWarehouse.ts"
import * as Json from "../serving/json.ts"
import { absent } from "../workspace/absent.ts"
import { isNumber } from "../workspace/exactJson.ts"
import * as Transport from "../workspace/transport.ts"
import type { Reader } from "./rows.ts"

type Response = HttpClientResponse.HttpClientResponse

const decodePage = Json.response(
  Schema.Struct({
    manifest: absent(Schema.Struct({ columns: Schema.Array(Schema.Struct({ name: Schema.String })) })),
    result: absent(
      Schema.Struct({ row_count: absent(Schema.Int), data_array: absent(Schema.Array(Schema.Array(Schema.Unknown))) })
    ),
    next_page_token: absent(Schema.String),
    debug_info: absent(Schema.Struct({ response_time: absent(Schema.Number) }))
  })
)

/** Reads a page of hits. */
export const page = <A, R>(
  reader: Reader<A, R>
): ((response: Response) => Effect.Effect<Page<A>, DatabricksError | RowDecodeError, R>) =>
  Effect.fnUntraced(function* (response: Response) {
    const { debug_info, manifest, next_page_token, result } = yield* decodePage(response)
    const names = (manifest?.columns ?? []).map(({ name }) => name)
    const rows = result?.data_array ?? []
    if (rows.some((row) => row.length !== names.length || !isScore(row[names.lastIndexOf("score")]))) {
      return yield* Effect.fail(
        Transport.invalid(response, "rows without a score, or of another width than its columns")
      )
    }
    // An empty page may come without columns.
    const hits = names.length === 0 ? [] : yield* reader.hits(names, rows)
    yield* Effect.annotateCurrentSpan("search.hits", hits.length)
    const time = debug_info?.response_time ?? undefined
    return {
      hits,
      rowCount: result?.row_count ?? rows.length,
      nextPageToken: next_page_token || undefined,
      responseTime: time === undefined ? undefined : Duration.millis(time)
    }
  })

const isScore = (value: unknown) => typeof value === "number" || (typeof value === "string" && isNumber(value))

const decodeState = Transport.patientJson(
  Schema.Struct({
    endpoint_name: Schema.String,
    index_type: absent(Schema.String),
    primary_key: absent(Schema.String),
    status: absent(
      Schema.Struct({
        ready: absent(Schema.Boolean),
        detailed_state: absent(Schema.String),
        indexed_row_count: absent(Schema.Int),
        message: absent(Schema.String)
      })
    )
  })
)

/** Reads the state of an index. */
export const state = (response: Response): Effect.Effect<State, DatabricksError> =>
  Effect.map(decodeState(response), ({ endpoint_name, index_type, primary_key, status }) => ({
    isReady: status?.ready ?? false,
    detailedState: status?.detailed_state ?? undefined,
    indexedRowCount: status?.indexed_row_count ?? undefined,
    message: status?.message ?? undefined,
    endpoint: endpoint_name,
    indexType: index_type ?? undefined,
    primaryKey: primary_key ?? undefined
  }))
