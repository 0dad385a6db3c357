/** Runs a statement on a warehouse: it starts once, and runs until it ends or is cancelled. */
import { Duration, Effect, Fiber, FiberSet, type Scope } from "effect"
import { HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { Caller } from "../../Caller.ts"
import {
  type DatabricksError,
  make as databricksError,
  StatementFailedError,
  StatementGoneError
} from "../../DatabricksError.ts"
import { runAs } from "../../ExecutionContext.ts"
import type { Policy } from "../../Operation.ts"
import type { Progress } from "../../SqlWarehouse.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { withoutBound, withoutRecords, withoutValues } from "../failures/values.ts"
import { isReadOnly, writes } from "./readOnly.ts"
import { Answer, Chunk, type Disposition, type Format, type Order } from "./wire.ts"
import { redactorOf } from "../workspace/answer.ts"
import * as Retry from "../workspace/retry.ts"
import * as WorkspaceHttp from "../workspace/transport.ts"
import type { Warehouses } from "./warehouses.ts"

export interface RunOptions {
  readonly disposition: Disposition
  /** Defaults to the format that the warehouse accepts, of which JSON_ARRAY is asked for first. */
  readonly format?: Format | undefined
  readonly retry: Policy["retry"]
  readonly onProgress: ((progress: Progress) => Effect.Effect<void>) | undefined
}

export interface Statements {
  /** Runs a statement until it has succeeded. Interruption cancels it. */
  readonly run: (caller: Caller, order: Order, options: RunOptions) => Effect.Effect<Answer, DatabricksError>
  /** Requests one chunk of the result of a statement that has succeeded. */
  readonly chunk: (caller: Caller, statementId: string, index: number) => Effect.Effect<Chunk, DatabricksError>
}

const path = "/api/2.0/sql/statements"

// The shortest of the API: a statement can be cancelled only once the response has its id.
const waitTimeout = "5s"

const firstDelay = Duration.millis(100)
const maxDelay = Duration.seconds(5)
const abandonTimeout = Duration.seconds(30)
// The time that an interrupted query waits for the statement to stop.
const stopTimeout = Duration.seconds(1)
// An application that stops has 10 seconds, of which requests in flight may take 8.
const closeTimeout = Duration.millis(1_500)

/** Decodes a response, without the credential that the workspace may quote in the error of a statement. */
export const withoutCredential =
  <E>(decode: (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<Answer, E>) =>
  (response: HttpClientResponse.HttpClientResponse): Effect.Effect<Answer, E> =>
    Effect.map(decode(response), (answer) => {
      const { status } = answer
      if (status.error == null && status.sql_state == null) return answer
      const redact = redactorOf(response)
      const { error_code, message } = status.error ?? {}
      return {
        ...answer,
        status: {
          ...status,
          sql_state: status.sql_state && redact(status.sql_state),
          error: { error_code: error_code && redact(error_code), message: message && redact(message) }
        }
      }
    })

const decodeAnswer = withoutCredential(WorkspaceHttp.json(Answer))
const decodePoll = withoutCredential(WorkspaceHttp.patientJson(Answer))
const decodeChunk = WorkspaceHttp.patientJson(Chunk)

export const make = Effect.fnUntraced(function* (
  sendAsCurrent: WorkspaceClient["Service"]["send"],
  isStarting: Warehouses["isStarting"]
): Effect.fn.Return<Statements, never, Scope.Scope> {
  // Sends every request of a statement as the caller that started it, in any fiber.
  const send = (caller: Caller, request: HttpClientRequest.HttpClientRequest) => runAs(sendAsCurrent(request), caller)

  const abandoned = yield* FiberSet.make<void>()
  yield* Effect.addFinalizer(() => Effect.timeoutOption(FiberSet.awaitEmpty(abandoned), closeTimeout))

  // The format that a warehouse required when it refused another. Most warehouses accept all.
  const formats = new Map<string, Format>()

  const start = (caller: Caller, order: Order, disposition: Disposition, required: Format | undefined) => {
    const place = `${disposition} ${order.warehouse_id}`
    const startAs = (format: Format) => {
      const body = { ...order, disposition, format, wait_timeout: waitTimeout, on_wait_timeout: "CONTINUE" }
      const request = HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(path), body)
      return Effect.flatMap(send(caller, request), decodeAnswer)
    }
    if (required !== undefined) return startAs(required)
    const format = formats.get(place) ?? "JSON_ARRAY"
    return Effect.catch(startAs(format), (error) => {
      const wanted = formatWanted(error)
      if (wanted === undefined || wanted === format) return Effect.fail(error)
      // The request was refused, so the statement has not started.
      return Effect.tap(startAs(wanted), () => Effect.sync(() => formats.set(place, wanted)))
    })
  }

  const poll = (caller: Caller, statementId: string) =>
    Retry.polled(Effect.flatMap(send(caller, HttpClientRequest.get(pathOf(statementId))), decodePoll))

  const untilEnded = Effect.fnUntraced(function* (
    caller: Caller,
    started: Answer,
    progress?: { readonly warehouseId: string; readonly tell: NonNullable<RunOptions["onProgress"]> }
  ) {
    let latest = started
    let told: string | undefined
    let isVisible = true
    // The statement API says PENDING both while the warehouse starts and while the statement is queued.
    const waiting = (warehouseId: string) =>
      Effect.map(isVisible ? isStarting(caller, warehouseId) : Effect.undefined, (starting) => {
        isVisible = starting !== undefined
        return starting === true ? ("STARTING" as const) : ("PENDING" as const)
      })
    for (let delay = firstDelay; ; delay = Duration.min(Duration.times(delay, 1.5), maxDelay)) {
      const { state } = latest.status
      if (state !== "PENDING" && state !== "RUNNING") return latest
      if (progress !== undefined) {
        const shown = state === "PENDING" ? yield* waiting(progress.warehouseId) : state
        if (shown !== told) yield* progress.tell({ statementId: latest.statement_id, state: shown })
        told = shown
      }
      yield* Effect.sleep(delay)
      latest = yield* poll(caller, started.statement_id)
    }
  })

  // Polls, because the statement may have ended before, or may end after the response to the cancel request.
  const cancel = (caller: Caller, started: Answer) =>
    Retry.polled(send(caller, HttpClientRequest.post(`${pathOf(started.statement_id)}/cancel`))).pipe(
      Effect.andThen(untilEnded(caller, started)),
      Effect.ignore({
        log: "Warn",
        message: `The statement ${started.statement_id} could not be cancelled, and may still be running`
      })
    )

  // Waits for the response with the id, and cancels as the caller that started the statement.
  const abandon = (caller: Caller, starting: Fiber.Fiber<Answer, DatabricksError>) =>
    Fiber.join(starting).pipe(
      Effect.flatMap((started) => (isUnderWay(started) ? cancel(caller, started) : Effect.void)),
      Effect.timeoutOption(abandonTimeout),
      Effect.ensuring(Fiber.interrupt(starting)),
      Effect.ignore,
      (abandoning) => FiberSet.run(abandoned, abandoning),
      Effect.flatMap((fiber) => Effect.timeoutOption(Fiber.await(fiber), stopTimeout))
    )

  // A poll tells whether the statement was closed or its result has expired; a refused chunk does not.
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
    run: (caller, order, { disposition, format, onProgress: tell, retry }) =>
      Effect.suspend(() => {
        let starting: Fiber.Fiber<Answer, DatabricksError> | undefined
        // In a fiber of its own, so that interruption does not lose the response with the id.
        const fork = Effect.uninterruptible(
          Effect.map(Effect.forkDetach(start(caller, order, disposition, format)), (fiber) => (starting = fiber))
        )
        const once = Effect.flatMap(fork, Fiber.join)
        // A start whose connection was lost may have left a statement behind, with an unknown id.
        return Retry.ofCall(once, retry).pipe(
          Effect.tap(({ statement_id }) => Effect.annotateCurrentSpan("statement.id", statement_id)),
          Effect.flatMap((answer) => untilEnded(caller, answer, tell && { warehouseId: order.warehouse_id, tell })),
          Effect.onError(() => (starting === undefined ? Effect.void : abandon(caller, starting))),
          Effect.flatMap((answer) => succeeded(answer, order))
        )
      }),
    chunk: (caller, statementId, index) =>
      send(caller, HttpClientRequest.get(`${pathOf(statementId)}/result/chunks/${index}`)).pipe(
        Effect.flatMap(decodeChunk),
        Effect.catch(gone(caller, statementId))
      )
  }
})

/** The warehouse's message for a result that is too large for inline, for which it has no code. */
export const inlineLimit = "Inline byte limit exceeded"

const pathOf = (statementId: string) => `${path}/${encodeURIComponent(statementId)}`

const isUnderWay = ({ status: { state } }: Answer) => state === "PENDING" || state === "RUNNING"

/** Fails unless the statement has succeeded. */
export const succeeded = (
  answer: Answer,
  { parameters, statement: text }: Pick<Order, "parameters" | "statement">
): Effect.Effect<Answer, DatabricksError> => {
  const { statement_id: statementId, status } = answer
  if (status.state === "CANCELED") return goneAs(status.state, statementId)
  if (status.state === "CLOSED") return closed(text, answer)
  if (status.state === "SUCCEEDED") return Effect.succeed(answer)
  const said = status.error?.message ?? "The statement failed, and the warehouse gave no reason"
  const sqlState = status.sql_state ?? /\bSQLSTATE: ([0-9A-Z]{5})\b/.exec(said)?.[1]
  // The message goes into logs and spans, and may be as long as a response.
  const short = withoutRecords(said.slice(0, 4_000))
  const message = short.includes(inlineLimit)
    ? short
    : withoutBound(
        sqlState?.startsWith("22") ? withoutValues(short) : short,
        parameters.map(({ value }) => value)
      )
  return Effect.fail(
    databricksError(
      new StatementFailedError({
        statementId,
        message,
        sqlState,
        errorCode: status.error?.error_code ?? undefined,
        readOnly: isReadOnly(text)
      })
    )
  )
}

// The statement ran. Its rows may be in the response; otherwise they are lost, unless it is known to have none.
const closed = (text: string, answer: Answer): Effect.Effect<Answer, DatabricksError> => {
  const { manifest, result, statement_id, status } = answer
  if (result?.data_array ?? result?.attachment ?? result?.external_links) return Effect.succeed(answer)
  if (writes(text)) return Effect.succeed({ statement_id, status })
  const isEmpty = manifest?.total_row_count === 0 || manifest?.schema.columns?.length === 0
  return isEmpty ? Effect.succeed({ ...answer, result: {} }) : goneAs("CLOSED", statement_id)
}

const goneAs = (state: StatementGoneError["state"], statementId: string) =>
  Effect.fail(
    databricksError(
      new StatementGoneError({ statementId, state, message: `The statement ${statementId} ${became[state]}` })
    )
  )

const became = {
  CANCELED: "was cancelled",
  CLOSED: "ran, and its result was closed before it was read",
  EXPIRED: "has no result any more: the warehouse keeps results for an hour"
}

// Only the message distinguishes this refusal from others.
const formatWanted = ({ reason }: DatabricksError): Format | undefined =>
  reason._tag === "InvalidRequestError"
    ? (/\b(?:only supports|must be) (JSON_ARRAY|ARROW_STREAM)\b/.exec(reason.message)?.[1] as Format | undefined) // it matched one
    : undefined
