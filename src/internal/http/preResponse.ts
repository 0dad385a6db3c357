/**
 * Runs pre-response handlers as the caller of the handler that registered them. Effect runs them after the middleware
 * of the route has returned, and so as the service principal. Remove this module when "runs a pre-response handler
 * outside of the middleware" fails in preResponse.upstream.test.ts.
 */
import { Context, Effect } from "effect"
import { HttpEffect } from "effect/http"
import { runningLike } from "../../ExecutionContext.ts"
import { RequestState } from "./requestState.ts"

/** The context in which pre-response handlers that are registered run as the caller of this context. */
export const following = <R>(context: Context.Context<R>): Context.Context<R> => {
  const server = Context.getOrUndefined(context, RequestState)
  return server === undefined ? context : Context.add(context, RequestState, new Following(context, server))
}

class Following implements RequestState {
  private registered: HttpEffect.PreResponseHandler | undefined
  private readonly context: Context.Context<never>
  private readonly server: RequestState
  constructor(context: Context.Context<never>, server: RequestState) {
    this.context = context
    this.server = server
  }
  get preResponseHandler(): HttpEffect.PreResponseHandler | undefined {
    return this.registered
  }
  set preResponseHandler(handler: HttpEffect.PreResponseHandler) {
    if (this.registered === undefined) {
      HttpEffect.appendPreResponseHandlerUnsafe(this.context, (request, response) =>
        Effect.updateContext(
          this.registered?.(request, response) ?? Effect.succeed(response),
          (running: Context.Context<never>) => runningLike(running, this.context)
        )
      )
    }
    this.registered = handler
  }
  get loggerDisabled(): boolean {
    return this.server.loggerDisabled
  }
  set loggerDisabled(disabled: boolean) {
    this.server.loggerDisabled = disabled
  }
}
