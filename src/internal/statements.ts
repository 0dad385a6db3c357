/** The statement execution API: one statement, from its start to the last of its rows. */
import { Duration, Effect, Fiber, FiberSet, Schema, type Scope } from "effect"
import { HttpClientRequest } from "effect/http"
import type { Caller } from "../Caller.ts"
import {
  type DatabricksError,
  make as databricksError,
  StatementFailedError,
  StatementGoneError
} from "../DatabricksError.ts"
import type { Retry } from "../Operation.ts"
import { retried } from "./retry.ts"
import * as WorkspaceHttp from "./workspaceHttp.ts"

/** What the API calls an order: `POST /api/2.0/sql/statements`. */
export interface Order {
  readonly statement: string
  readonly warehouse_id: string
  readonly catalog: string | undefined
  readonly schema: string | undefined
  readonly row_limit: number | undefined
  readonly parameters: ReadonlyArray<{
    readonly name: string
    readonly type: string | undefined
    readonly value: string | null
  }>
}

export const Column = Schema.Struct({
  name: Schema.String,
  /** Such as `DECIMAL(10,2)` or `ARRAY<STRING>`. */
  type_text: Schema.String,
  /** Such as `LONG` for BIGINT, and `DECIMAL`. */
  type_name: Schema.String
})

export type Column = typeof Column.Type

const Row = Schema.Array(Schema.NullOr(Schema.String))

export type Row = typeof Row.Type

const Chunk = Schema.Struct({ data_array: Schema.optional(Schema.Array(Row)) })

const Answer = Schema.Struct({
  statement_id: Schema.String,
  status: Schema.Struct({
    state: Schema.Literals(["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "CLOSED"]),
    error: Schema.optional(
      Schema.Struct({ error_code: Schema.optional(Schema.String), message: Schema.optional(Schema.String) })
    ),
    sql_state: Schema.optional(Schema.String)
  }),
  manifest: Schema.optional(
    Schema.Struct({
      schema: Schema.Struct({ columns: Schema.optional(Schema.Array(Column)) }),
      total_chunk_count: Schema.optional(Schema.Int),
      truncated: Schema.optional(Schema.Boolean)
    })
  ),
  result: Schema.optional(Chunk)
})

type Answer = typeof Answer.Type

export interface Statements {
  /** Runs a statement to its end; whoever gives up before that leaves it cancelled. */
  readonly run: (
    caller: Caller,
    order: Order,
    retry: Retry | undefined
  ) => Effect.Effect<
    {
      readonly statementId: string
      readonly columns: ReadonlyArray<Column>
      readonly rows: ReadonlyArray<Row>
      readonly truncated: boolean
    },
    DatabricksError
  >
}

const path = "/api/2.0/sql/statements"

// The shortest that the API has: until it answers nobody knows the id, so nothing can be cancelled.
const waitTimeout = "5s"

const firstDelay = Duration.millis(100)
const maxDelay = Duration.seconds(5)
const chunksAtOnce = 4
const abandonTimeout = Duration.seconds(30)
// Who gives up learns that the statement has stopped, and is not held by a warehouse that does not say so.
const stopTimeout = Duration.seconds(1)
// Databricks Apps kills 15 s after SIGTERM, of which requests in flight may take 8.
const closeTimeout = Duration.seconds(3)

const inline = { disposition: "INLINE", format: "JSON_ARRAY" }

const decodeAnswer = WorkspaceHttp.json(Answer)
const decodeChunk = WorkspaceHttp.json(Chunk)

export const make = Effect.fnUntraced(function* (
  send: WorkspaceHttp.Send
): Effect.fn.Return<Statements, never, Scope.Scope> {
  const abandoned = yield* FiberSet.make<void>()
  yield* Effect.addFinalizer(() => Effect.timeoutOption(FiberSet.awaitEmpty(abandoned), closeTimeout))

  const start = (caller: Caller, order: Order) => {
    const body = { ...order, ...inline, wait_timeout: waitTimeout, on_wait_timeout: "CONTINUE" }
    const request = HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(path), body)
    return Effect.flatMap(send(caller, request), decodeAnswer)
  }

  const get = (caller: Caller, path: string) => send(caller, HttpClientRequest.get(path))

  const untilEnded = Effect.fnUntraced(function* (caller: Caller, started: Answer) {
    let latest = started
    for (let delay = firstDelay; isUnderWay(latest); delay = Duration.min(Duration.times(delay, 1.5), maxDelay)) {
      yield* Effect.sleep(delay)
      latest = yield* patiently(Effect.flatMap(get(caller, pathOf(started)), decodeAnswer))
    }
    return latest
  })

  // It may have lost the race, or take effect later than it is answered.
  const cancel = (caller: Caller, started: Answer) =>
    patiently(send(caller, HttpClientRequest.post(`${pathOf(started)}/cancel`))).pipe(
      Effect.andThen(untilEnded(caller, started)),
      Effect.ignore({ log: "Warn", message: `The statement ${started.statement_id} may go on: it cannot be cancelled` })
    )

  // It learns the id, however late, and cancels as the one who started the statement.
  const abandon = (caller: Caller, starting: Fiber.Fiber<Answer, DatabricksError>) =>
    Fiber.join(starting).pipe(
      Effect.flatMap((started) => (isUnderWay(started) ? cancel(caller, started) : Effect.void)),
      Effect.timeoutOption(abandonTimeout),
      Effect.ensuring(Fiber.interrupt(starting)),
      Effect.ignore,
      (abandoning) => FiberSet.run(abandoned, abandoning),
      Effect.flatMap((fiber) => Effect.timeoutOption(Fiber.await(fiber), stopTimeout))
    )

  const ended = (caller: Caller, order: Order, retry: Retry | undefined) =>
    Effect.suspend(() => {
      let starting: Fiber.Fiber<Answer, DatabricksError> | undefined
      // A fiber of its own: giving up must not lose the answer that has the id.
      const fork = Effect.uninterruptible(
        Effect.map(Effect.forkDetach(start(caller, order)), (fiber) => (starting = fiber))
      )
      const started = Effect.flatMap(fork, Fiber.join)
      const startedAtLast =
        retry === undefined
          ? started
          : Effect.andThen(Effect.annotateCurrentSpan("retry.attempts", 1), retried(started, retry, neverStarted))
      return startedAtLast.pipe(
        Effect.tap(({ statement_id }) => Effect.annotateCurrentSpan("statement.id", statement_id)),
        Effect.flatMap((answer) => untilEnded(caller, answer)),
        Effect.onError(() => (starting === undefined ? Effect.void : abandon(caller, starting)))
      )
    })

  return {
    run: Effect.fnUntraced(function* (caller: Caller, order: Order, retry: Retry | undefined) {
      const answer = yield* Effect.flatMap(ended(caller, order, retry), succeeded)
      const { manifest, result } = answer
      const others = yield* Effect.forEach(
        Array.from({ length: Math.max((manifest?.total_chunk_count ?? 0) - 1, 0) }, (_, index) => index + 1),
        (index) => patiently(Effect.flatMap(get(caller, `${pathOf(answer)}/result/chunks/${index}`), decodeChunk)),
        { concurrency: chunksAtOnce }
      )
      return {
        statementId: answer.statement_id,
        columns: manifest?.schema.columns ?? [],
        rows: [result, ...others].flatMap((chunk) => chunk?.data_array ?? []),
        truncated: manifest?.truncated ?? false
      }
    })
  }
})

const pathOf = ({ statement_id }: Answer) => `${path}/${encodeURIComponent(statement_id)}`

const isUnderWay = ({ status: { state } }: Answer) => state === "PENDING" || state === "RUNNING"

const succeeded = (answer: Answer): Effect.Effect<Answer, DatabricksError> => {
  const { statement_id: statementId, status } = answer
  if (status.state === "CANCELED" || status.state === "CLOSED") {
    const what = status.state === "CANCELED" ? "was cancelled" : "was closed before its result was read"
    return Effect.fail(
      databricksError(
        new StatementGoneError({ statementId, state: status.state, message: `The statement ${statementId} ${what}` })
      )
    )
  }
  if (status.state === "SUCCEEDED") return Effect.succeed(answer)
  const message = status.error?.message ?? "The warehouse does not say why the statement failed"
  const sqlState = status.sql_state ?? /\bSQLSTATE: ([0-9A-Z]{5})\b/.exec(message)?.[1]
  return Effect.fail(
    databricksError(new StatementFailedError({ statementId, message, sqlState, errorCode: status.error?.error_code }))
  )
}

const neverConnected = new Set<unknown>(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"])

// A connection that was lost later may have left a statement behind, whose id nobody knows.
const neverStarted = ({ reason, isRetryable }: DatabricksError) =>
  reason._tag === "ConnectionError" ? neverConnected.has(reason.cause) : isRetryable

// What may be asked for again is, for five minutes: the statement runs on meanwhile, and its span tells of its start.
const patiently = <A>(request: Effect.Effect<A, DatabricksError>): Effect.Effect<A, DatabricksError> =>
  retried(
    request,
    patience,
    ({ isRetryable }) => isRetryable,
    () => Effect.void
  )

const patience = { attempts: Infinity, delay: firstDelay, maxDelay }
