/** The rows of a query: stored result, or a new run → statement → chunks → rows. */
import { Effect } from "effect"
import { HttpClientRequest } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { Genie, RowsOf, RowsOptions } from "../../Genie.ts"
import type { Query } from "../../GenieMessage.ts"
import { RowDecodeError, type Table } from "../../SqlWarehouse.ts"
import type { Source } from "../sqlWarehouse/links.ts"
import * as Results from "../sqlWarehouse/results.ts"
import * as SqlRows from "../sqlWarehouse/rows.ts"
import * as Statements from "../sqlWarehouse/statements.ts"
import { type Answer, Chunk } from "../sqlWarehouse/wire.ts"
import { path } from "../workspace/path.ts"
import { longer, pause } from "../workspace/pause.ts"
import * as Retry from "../workspace/retry.ts"
import { patientJson } from "../workspace/transport.ts"
import { pathOf, type Send } from "./requests.ts"
import { WireResult } from "./wire.ts"

type Service = Genie["Service"]

const decodeResult = patientJson(WireResult)
const decodeStatement = Statements.withoutCredential((response) =>
  Effect.map(decodeResult(response), (_) => _.statement_response)
)
const decodeChunk = patientJson(Chunk)

/** Returns the reader of a whole result. */
export const reader = (send: Send, { fetch, host }: Pick<Source, "fetch" | "host">) =>
  Effect.fnUntraced(function* (query: Query, { rerun = false }: RowsOptions): Effect.fn.Return<Table, DatabricksError> {
    const { spaceId, truncated } = query
    const url = `${pathOf(query)}${path`/attachments/${query.attachmentId}`}`
    const statement = (request: HttpClientRequest.HttpClientRequest) =>
      Effect.flatMap(send(request, spaceId), decodeStatement)
    const stored = Retry.polled(statement(HttpClientRequest.get(`${url}/query-result`)))
    let answer = yield* rerun ? statement(HttpClientRequest.post(`${url}/execute-query`)) : stored
    for (let delay = longer(0); isUnderWay(answer); delay = longer(delay)) {
      yield* pause(delay)
      answer = yield* stored
    }
    yield* Effect.annotateCurrentSpan("statement.id", answer.statement_id)
    const { manifest, statement_id: statementId } = yield* Statements.succeeded(answer, unbound)
    const chunkOf = (index: number) =>
      HttpClientRequest.get(path`/api/2.0/sql/statements/${statementId}/result/chunks/${String(index)}`)
    const ask = (index: number) => Effect.flatMap(send(chunkOf(index), spaceId), decodeChunk)
    const table: Table = {
      statementId,
      columns: manifest?.schema.columns ?? [],
      rows: yield* Results.collect({ host, fetch, ask }, answer),
      truncated: manifest?.truncated === true || (!rerun && truncated === true)
    }
    yield* Effect.annotateCurrentSpan({
      "db.response.returned_rows": table.rows.length,
      "db.response.truncated": table.truncated
    })
    return table
  })

const isUnderWay = ({ status: { state } }: Answer) => state === "PENDING" || state === "RUNNING"

// Genie's text is not ours to judge, and it binds no parameter.
const unbound = { statement: "", parameters: [] }

/** Decodes outside of the operation, as the caller of the fiber. */
export const rowsOf =
  (table: Service["table"]): Service["rows"] =>
  (query): RowsOf =>
  (...args: SqlRows.Asked<RowsOptions>) => {
    const [decoder, options] = SqlRows.asked(args)
    return Effect.flatMap(table(query, options), ({ rows, ...result }) =>
      decoder(result.columns)(rows, 0).pipe(
        Effect.mapBoth({
          onFailure: (mismatch) => new RowDecodeError(mismatch),
          onSuccess: (rows) => ({ ...result, rows })
        })
      )
    )
  }
