/** The life of a statement on a warehouse: it starts once, and runs until it has ended or is cancelled. */
import { Duration, Effect, Fiber, FiberSet, type Scope } from "effect"
import { HttpClientRequest } from "effect/http"
import type { Caller } from "../../Caller.ts"
import {
  type DatabricksError,
  make as databricksError,
  StatementFailedError,
  StatementGoneError
} from "../../DatabricksError.ts"
import { runAs } from "../../ExecutionContext.ts"
import { type Retry, retried } from "../../Operation.ts"
import type { Progress } from "../../SqlWarehouse.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { patiently } from "./patiently.ts"
import { Answer, Chunk, type Disposition, type Format, type Order } from "./wire.ts"
import * as WorkspaceHttp from "../workspace/transport.ts"

export interface RunOptions {
  readonly disposition: Disposition
  readonly retry: Retry | undefined
  readonly onProgress: ((progress: Progress) => Effect.Effect<void>) | undefined
}

export interface Statements {
  /** Runs a statement until it has succeeded; interrupted before that, cancels it. */
  readonly run: (caller: Caller, order: Order, options: RunOptions) => Effect.Effect<Answer, DatabricksError>
  /** Asks for one chunk of the result of a statement that has succeeded. */
  readonly chunk: (caller: Caller, statementId: string, index: number) => Effect.Effect<Chunk, DatabricksError>
}

const path = "/api/2.0/sql/statements"

// The shortest that the API has: a statement can be cancelled only when the answer has told its id.
const waitTimeout = "5s"

const firstDelay = Duration.millis(100)
const maxDelay = Duration.seconds(5)
const abandonTimeout = Duration.seconds(30)
// An interrupted query waits so long for the statement to stop.
const stopTimeout = Duration.seconds(1)
// An application that is told to stop has 10 s, of which requests in flight may take 8.
const closeTimeout = Duration.millis(1_500)

const decodeAnswer = WorkspaceHttp.json(Answer)
const decodeChunk = WorkspaceHttp.json(Chunk)

export const make = Effect.fnUntraced(function* (
  sendAsCurrent: WorkspaceClient["Service"]["send"]
): Effect.fn.Return<Statements, never, Scope.Scope> {
  // Every request of a statement leaves as the caller that started it, whoever the fiber runs as.
  const send = (caller: Caller, request: HttpClientRequest.HttpClientRequest) => runAs(sendAsCurrent(request), caller)

  const abandoned = yield* FiberSet.make<void>()
  yield* Effect.addFinalizer(() => Effect.timeoutOption(FiberSet.awaitEmpty(abandoned), closeTimeout))

  // The format that a warehouse asked for when it refused another; most never refuse one.
  const formats = new Map<string, Format>()

  const start = (caller: Caller, order: Order, disposition: Disposition) => {
    const place = `${disposition} ${order.warehouse_id}`
    const startAs = (format: Format) => {
      const body = { ...order, disposition, format, wait_timeout: waitTimeout, on_wait_timeout: "CONTINUE" }
      const request = HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(path), body)
      return Effect.flatMap(send(caller, request), decodeAnswer)
    }
    const format = formats.get(place) ?? "JSON_ARRAY"
    return Effect.catch(startAs(format), (error) => {
      const wanted = formatWanted(error)
      if (wanted === undefined || wanted === format) return Effect.fail(error)
      // The request was refused, so that the statement has not started.
      return Effect.tap(startAs(wanted), () => Effect.sync(() => formats.set(place, wanted)))
    })
  }

  const poll = (caller: Caller, statementId: string) =>
    patiently(Effect.flatMap(send(caller, HttpClientRequest.get(pathOf(statementId))), decodeAnswer))

  const untilEnded = Effect.fnUntraced(function* (
    caller: Caller,
    started: Answer,
    onProgress: RunOptions["onProgress"]
  ) {
    let latest = started
    let told: string | undefined
    for (let delay = firstDelay; ; delay = Duration.min(Duration.times(delay, 1.5), maxDelay)) {
      const { state } = latest.status
      if (state !== "PENDING" && state !== "RUNNING") return latest
      if (state !== told && onProgress !== undefined) yield* onProgress({ statementId: latest.statement_id, state })
      told = state
      yield* Effect.sleep(delay)
      latest = yield* poll(caller, started.statement_id)
    }
  })

  // The statement may have ended before, or end later than the cancelling is answered: hence the polls.
  const cancel = (caller: Caller, started: Answer) =>
    patiently(send(caller, HttpClientRequest.post(`${pathOf(started.statement_id)}/cancel`))).pipe(
      Effect.andThen(untilEnded(caller, started, undefined)),
      Effect.ignore({ log: "Warn", message: `The statement ${started.statement_id} may go on: it cannot be cancelled` })
    )

  // Waits for the answer that has the id, and cancels as the caller that started the statement.
  const abandon = (caller: Caller, starting: Fiber.Fiber<Answer, DatabricksError>) =>
    Fiber.join(starting).pipe(
      Effect.flatMap((started) => (isUnderWay(started) ? cancel(caller, started) : Effect.void)),
      Effect.timeoutOption(abandonTimeout),
      Effect.ensuring(Fiber.interrupt(starting)),
      Effect.ignore,
      (abandoning) => FiberSet.run(abandoned, abandoning),
      Effect.flatMap((fiber) => Effect.timeoutOption(Fiber.await(fiber), stopTimeout))
    )

  // A refused chunk does not tell whether the statement was closed or its result has expired: a poll does.
  const gone = (caller: Caller, statementId: string) => (error: DatabricksError) =>
    error.status !== 400 && error.status !== 404 && error.status !== 410
      ? Effect.fail(error)
      : poll(caller, statementId).pipe(
          Effect.matchEffect({
            onFailure: () => goneAs("EXPIRED", statementId),
            onSuccess: ({ status: { state } }) =>
              state === "CLOSED" || state === "CANCELED" ? goneAs(state, statementId) : Effect.fail(error)
          })
        )

  return {
    run: (caller, order, { disposition, onProgress, retry }) =>
      Effect.suspend(() => {
        let starting: Fiber.Fiber<Answer, DatabricksError> | undefined
        // In a fiber of its own: interruption must not lose the answer that has the id.
        const fork = Effect.uninterruptible(
          Effect.map(Effect.forkDetach(start(caller, order, disposition)), (fiber) => (starting = fiber))
        )
        const started = Effect.flatMap(fork, Fiber.join)
        const startedAtLast = retry === undefined ? started : retried(started, retry, neverStarted)
        return startedAtLast.pipe(
          Effect.tap(({ statement_id }) => Effect.annotateCurrentSpan("statement.id", statement_id)),
          Effect.flatMap((answer) => untilEnded(caller, answer, onProgress)),
          Effect.onError(() => (starting === undefined ? Effect.void : abandon(caller, starting))),
          Effect.flatMap(succeeded)
        )
      }),
    chunk: (caller, statementId, index) =>
      send(caller, HttpClientRequest.get(`${pathOf(statementId)}/result/chunks/${index}`)).pipe(
        Effect.flatMap(decodeChunk),
        Effect.catch(gone(caller, statementId))
      )
  }
})

const pathOf = (statementId: string) => `${path}/${encodeURIComponent(statementId)}`

const isUnderWay = ({ status: { state } }: Answer) => state === "PENDING" || state === "RUNNING"

const succeeded = (answer: Answer): Effect.Effect<Answer, DatabricksError> => {
  const { statement_id: statementId, status } = answer
  if (status.state === "CANCELED" || status.state === "CLOSED") return goneAs(status.state, statementId)
  if (status.state === "SUCCEEDED") return Effect.succeed(answer)
  const said = status.error?.message ?? "The warehouse does not say why the statement failed"
  const sqlState = status.sql_state ?? /\bSQLSTATE: ([0-9A-Z]{5})\b/.exec(said)?.[1]
  // The message goes into logs and spans, and may be as long as an answer.
  const message = said.slice(0, 4_000)
  return Effect.fail(
    databricksError(new StatementFailedError({ statementId, message, sqlState, errorCode: status.error?.error_code }))
  )
}

const goneAs = (state: StatementGoneError["state"], statementId: string) =>
  Effect.fail(
    databricksError(
      new StatementGoneError({ statementId, state, message: `The statement ${statementId} ${became[state]}` })
    )
  )

const became = {
  CANCELED: "was cancelled",
  CLOSED: "was closed before its result was read",
  EXPIRED: "is not known any more: a result is kept for an hour"
}

// Only the message tells this refusal from others.
const formatWanted = ({ reason }: DatabricksError): Format | undefined =>
  reason._tag === "InvalidRequestError"
    ? (/\b(?:only supports|must be) (JSON_ARRAY|ARROW_STREAM)\b/.exec(reason.message)?.[1] as Format | undefined) // it matched one
    : undefined

const neverConnected = new Set<unknown>(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"])

// A connection that was lost later may have left a statement behind, and its id is unknown.
const neverStarted = ({ reason, isRetryable }: DatabricksError) =>
  reason._tag === "ConnectionError" ? neverConnected.has(reason.cause) : isRetryable
