/** How the workspace misbehaves where it is told to. */
import { Effect, type Scope } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"
import type { Fault } from "../../LocalWorkspace.ts"

interface Active {
  readonly fault: Fault
  left: number
}

const matches = (fault: Fault, method: string, path: string) =>
  (fault.method === undefined || fault.method.toUpperCase() === method) &&
  (fault.path === undefined || (typeof fault.path === "string" ? path.startsWith(fault.path) : fault.path(path)))

const hasSocket = (raw: object): raw is { readonly socket: { readonly destroy: () => void } } => "socket" in raw

const drop = (request: HttpServerRequest.HttpServerRequest) =>
  Effect.suspend(() => {
    const raw = toIncomingMessage(request)
    if (hasSocket(raw)) raw.socket.destroy()
    // The server interrupts the request once it notices.
    return Effect.never
  })

const halve = (response: HttpServerResponse.HttpServerResponse) => {
  const body = response.body._tag === "Uint8Array" ? response.body.body : new Uint8Array()
  return HttpServerResponse.uint8Array(body.subarray(0, Math.floor(body.length / 2)), {
    status: response.status,
    contentType: response.headers["content-type"] ?? "application/json"
  })
}

/** The misbehaviours that are switched on: none at first. */
export const make = () => {
  const active = new Set<Active>()

  const take = (method: string, path: string, wanted: (fault: Fault) => boolean): Fault | undefined => {
    for (const one of active) {
      if (one.left > 0 && wanted(one.fault) && matches(one.fault, method, path)) {
        one.left--
        return one.fault
      }
    }
    return undefined
  }

  return {
    add: (fault: Fault): Effect.Effect<void, never, Scope.Scope> =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const one = { fault, left: fault.times ?? Infinity }
          active.add(one)
          return one
        }),
        (one) => Effect.sync(() => active.delete(one))
      ),

    /** How many polls a statement started by this request is to look PENDING. */
    pendingPolls: (method: string, path: string): number => {
      const fault = take(method, path, (fault) => fault.kind === "pending")
      return fault?.kind === "pending" ? fault.polls : 0
    },

    /** Answers a request as the misbehaviour that it meets says, or else properly. */
    apply: <E, R>(
      request: HttpServerRequest.HttpServerRequest,
      path: string,
      answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
    ): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> => {
      const delay = take(request.method, path, (fault) => fault.kind === "delay")
      const fault = take(request.method, path, (fault) => fault.kind !== "delay" && fault.kind !== "pending")
      const faulty = Effect.suspend(() => {
        switch (fault?.kind) {
          case "answer":
            return Effect.succeed(
              HttpServerResponse.text(fault.body ?? "", { status: fault.status, headers: { ...fault.headers } })
            )
          case "truncate":
            return Effect.map(answer, halve)
          case "drop":
            return fault.when === "after" ? Effect.andThen(answer, drop(request)) : drop(request)
          case "hang":
            return Effect.never
          default:
            return answer
        }
      })
      return delay?.kind === "delay" ? Effect.delay(faulty, delay.duration) : faulty
    }
  }
}

export type Faults = ReturnType<typeof make>
