/** Collects the fields of a request for its line of the log. This module imports only `effect`. */
import { type Cause, Context, Effect } from "effect"
import { HttpRouter, HttpServerRequest } from "effect/http"

/** How a request failed. */
export interface Failure {
  /** The status of its response, also where another one had been sent. */
  readonly status: number
  /** The tag and the sentence of the response, before it is masked. */
  readonly tag: string
  readonly message: string
  /** Whether it broke off the body of the response. */
  readonly brokeOff: boolean
  readonly cause: Cause.Cause<unknown>
  /** The operation, the statement and the caller. */
  readonly annotations: Readonly<Record<string, unknown>>
}

/** Whether it is an error of the application or its surroundings, and not of the request. */
export const isServerError = ({ brokeOff, status }: Failure): boolean => brokeOff || status >= 500

export interface Line {
  readonly requestId: string
  /** The path pattern of the route. */
  route: string | undefined
  caller: Readonly<Record<string, unknown>> | undefined
  failure: Failure | undefined
  /** Whether the route disabled its logger, where the state of the request does not say so any more. */
  disabled: boolean | undefined
}

/** The line of the request that runs, where there are `Logs`. */
export const CurrentLine = Context.Service<Line>("effect-databricks/logs/Line")

export const lineIn = (context: Context.Context<never>): Line | undefined =>
  Context.getOrUndefined(context, CurrentLine)

/** The path pattern of the route that runs, unless it is that of every path. */
export const routeIn = (context: Context.Context<never>): string | undefined => {
  const path = Context.getOrUndefined(context, HttpRouter.RouteContext)?.route.path
  return path === "/*" || path === "*" ? undefined : path
}

/** Records the caller of the request, and its route. */
export const ranAs = (context: Context.Context<never>, caller: Readonly<Record<string, unknown>>): void => {
  const line = lineIn(context)
  if (line === undefined) return
  line.caller = caller
  line.route ??= routeIn(context)
}

/** Tells of a failure: in the line of its request, or else in a line of its own. */
export const failed = (failure: Failure): Effect.Effect<void> =>
  Effect.withFiber(({ context }) => {
    const line = lineIn(context)
    if (line !== undefined) {
      line.route ??= routeIn(context)
      line.failure = failure
      return Effect.void
    }
    const { annotations, brokeOff, cause, status, tag } = failure
    const message = `${brokeOff ? "The response broke off: " : ""}${status} ${tag}: ${failure.message}`
    const request = Context.getOrUndefined(context, HttpServerRequest.HttpServerRequest)
    return Effect.annotateLogs(isServerError(failure) ? Effect.logError(message, cause) : Effect.logDebug(message), {
      ...(request && { method: request.method, route: routeIn(context) ?? pathOf(request) }),
      ...annotations
    })
  })

/** The most of a path that goes into a line. */
const maxPath = 256

/** Returns the path of a request without its query, which may contain secrets. */
export const pathOf = ({ url }: HttpServerRequest.HttpServerRequest): string => {
  const end = url.search(/[?#]/)
  return url.slice(0, end === -1 ? maxPath : Math.min(end, maxPath))
}
