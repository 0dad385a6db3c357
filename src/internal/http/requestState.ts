/** Effect's state of a request, which it does not export: its pre-response handlers, and whether it is logged. */
import { Context } from "effect"
import type { HttpEffect } from "effect/http"

export interface RequestState {
  preResponseHandler: HttpEffect.PreResponseHandler | undefined
  loggerDisabled: boolean
}

export const RequestState = Context.Service<RequestState>("effect/http/HttpEffect/CurrentRequestState")
