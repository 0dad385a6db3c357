/** The one line of the log about each request, in place of that of Effect's `HttpMiddleware.logger`. */
import { Cause, Context, Effect, Exit, type Fiber, Logger, LogLevel, Option, Predicate, References } from "effect"
import { HttpMiddleware, HttpServerError, HttpServerRequest, type HttpServerResponse } from "effect/http"
import { randomUUID } from "node:crypto"
import * as Statement from "../failures/statement.ts"
import * as Undeclared from "../failures/undeclared.ts"
import * as ClientAbort from "../http/clientAbort.ts"
import { RequestState } from "../http/requestState.ts"
import type { Entry } from "./format.ts"
import { CurrentLine, type Failure, isServerError, type Line, lineIn, pathOf, routeIn } from "./line.ts"
import * as Loggers from "./loggers.ts"

/** Adds the line of a request to the middleware of a server, which says whether it is closing. */
type Logging = (
  middleware: HttpMiddleware.HttpMiddleware | undefined,
  isClosing: () => boolean
) => HttpMiddleware.HttpMiddleware

/** `Logs` sets it, and the server reads it when it serves. */
export const Requests = Context.Reference<Logging | undefined>("effect-databricks/logs/Requests", {
  defaultValue: () => undefined
})

type App<E, R> = Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest>
type Outcome = Exit.Exit<HttpServerResponse.HttpServerResponse, unknown>

/** `exclude` holds the paths whose requests have no line, unless they fail with a 5xx. */
export const make = (write: (entry: Entry) => void, exclude: ReadonlySet<string>): Logging => {
  const logged = <E, R>(app: App<E, R>, isClosing: () => boolean): App<E, R> =>
    Effect.withFiber((fiber) => {
      const outside = fiber.context
      const request = Context.getUnsafe(outside, HttpServerRequest.HttpServerRequest)
      const began = performance.now()
      const line: Line = {
        requestId: requestIdOf(request),
        route: undefined,
        caller: undefined,
        failure: undefined,
        disabled: undefined
      }
      fiber.setContext(Context.add(outside, CurrentLine, line))
      return Effect.onExitPrimitive(app, (exit) => {
        const entry = entryOf(line, request, performance.now() - began, exit, exclude, isClosing, fiber)
        if (entry !== undefined) {
          for (const logger of fiber.getRef(Logger.CurrentLoggers)) {
            if (logger === Loggers.printed) write(entry)
            // The server's span has it all: it needs no event.
            else if (logger === Logger.tracerLogger) continue
            else if (logger !== Loggers.exported || fiber.getRef(Loggers.Collector) !== undefined) {
              logTo(logger, entry, fiber)
            }
          }
        }
        fiber.setContext(outside)
        return undefined
      })
    })
  return (middleware, isClosing) =>
    middleware === undefined || middleware === HttpMiddleware.logger
      ? (app) => logged(app, isClosing)
      : (app) => logged(middleware(withoutLogger(app)), isClosing)
}

/** Logs it for the collector, or for a logger of the application, which read the annotations of the fiber. */
const logTo = (
  logger: Logger.Logger<unknown, unknown>,
  { annotations, cause, date, logLevel, message }: Entry,
  fiber: Fiber.Fiber<unknown, unknown>
): void => {
  const { context } = fiber
  const all = { ...fiber.getRef(References.CurrentLogAnnotations), ...annotations }
  fiber.setContext(Context.add(context, References.CurrentLogAnnotations, all))
  try {
    logger.log({ cause, date, fiber, logLevel, message: [message] })
  } finally {
    fiber.setContext(context)
  }
}

/** Keeps the logger of Effect, which is somewhere in an unknown middleware, from a second line. */
const withoutLogger = <E, R>(app: App<E, R>): App<E, R> =>
  Effect.onExit(app, () =>
    Effect.withFiber(({ context }) => {
      const state = Context.getOrUndefined(context, RequestState)
      const line = lineIn(context)
      if (state !== undefined && line !== undefined) {
        line.disabled = state.loggerDisabled
        line.route ??= routeIn(context)
        state.loggerDisabled = true
      }
      return Effect.void
    })
  )

/** That of the proxy, unless it is one that a client made up and no log should have. */
const requestIdOf = ({ headers }: HttpServerRequest.HttpServerRequest): string => {
  const id = headers["x-request-id"]
  return id !== undefined && /^[\w.:-]{1,128}$/.test(id) ? id : randomUUID()
}

const entryOf = (
  line: Line,
  request: HttpServerRequest.HttpServerRequest,
  millis: number,
  exit: Outcome,
  exclude: ReadonlySet<string>,
  isClosing: () => boolean,
  fiber: Fiber.Fiber<unknown, unknown>
): Entry | undefined => {
  const { cause, status } = outcomeOf(exit)
  const isClosed = cause !== undefined && Cause.hasInterruptsOnly(cause) && isClosing()
  const failure =
    line.failure ?? (cause && (isClosed ? closed(cause, status) : unreported(fiber.context, cause, status)))
  const isError = status !== 499 && (status >= 500 || (failure !== undefined && isServerError(failure)))
  const logLevel = isError ? "Error" : "Info"
  if (LogLevel.isGreaterThan(fiber.cache.minimumLogLevel, logLevel)) return undefined
  if (!isError) {
    const disabled = line.disabled ?? Context.getOrUndefined(fiber.context, RequestState)?.loggerDisabled
    if (disabled === true || (exclude.size > 0 && exclude.has(pathOf(request)))) return undefined
  }
  // The router leaves the context of the route behind.
  const route = line.route ?? routeIn(fiber.context) ?? pathOf(request)
  const { method } = request
  const ms = Math.round(millis * 100) / 100
  const annotations: Record<string, unknown> = {
    method,
    route,
    status,
    ms,
    request_id: line.requestId,
    ...line.caller,
    ...failure?.annotations
  }
  if (failure !== undefined) {
    annotations["error"] = failure.tag
    if (isError || isSafe(failure)) annotations["reason"] = failure.message
  }
  return {
    date: new Date(),
    logLevel,
    message: `${method} ${route} ${status}${status < 400 ? endOf(failure, isClosed) : ""}`,
    annotations,
    span: fiber.cache.span,
    cause: isError ? (failure?.cause ?? Cause.empty) : Cause.empty
  }
}

/** The messages of a 400 and a 404 repeat parts of the request. */
const isSafe = ({ status }: Failure) => status !== 400 && status !== 404

/** How a response ended whose status tells of no failure. */
const endOf = (failure: Failure | undefined, isClosed: boolean) => {
  if (failure === undefined) return isClosed ? ": the server closed" : ""
  return failure.brokeOff ? ": the response broke off" : ": the stream ended with an error event"
}

/** Returns the status that the client saw, and the rest of the cause. A client that disconnects is a 499. */
const outcomeOf = (exit: Outcome) => {
  if (Exit.isSuccess(exit)) return { status: exit.value.status, cause: undefined }
  if (ClientAbort.isIn(exit.cause)) return { status: 499, cause: undefined }
  const [{ status }, rest] = HttpServerError.causeResponseStripped(exit.cause)
  return { status, cause: Option.getOrUndefined(rest) }
}

/** A request that the closing server interrupted. The end of a stream that had begun is no failure. */
const closed = (cause: Cause.Cause<unknown>, status: number): Failure | undefined =>
  status < 400
    ? undefined
    : {
        status,
        tag: "ServerClosed",
        message: "The server closed before the response was complete",
        brokeOff: false,
        cause,
        annotations: {}
      }

/** A failure that `Failures` has not answered. After a status below 400 it broke off the body of the response. */
const unreported = (context: Context.Context<never>, found: Cause.Cause<unknown>, status: number): Failure => {
  const undeclared = Undeclared.restored(context, found)
  const cause = undeclared?.cause ?? found
  const error = Cause.squash(cause)
  const message = undeclared?.message ?? (error instanceof Error ? error.message : String(error))
  const reason = HttpServerError.isHttpServerError(error) ? error.reason : error
  const tag = Predicate.hasProperty(reason, "_tag") ? String(reason._tag) : "InternalServerError"
  return { status, tag, message, brokeOff: status < 400, cause, annotations: Statement.annotationsOf(cause) }
}
