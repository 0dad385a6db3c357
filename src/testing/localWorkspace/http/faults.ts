import { type Duration, Effect, type Scope } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"

/** What the workspace does instead of, or before, answering properly. */
export type Misbehaviour =
  | {
      /** Sends this instead: an error, HTML, nothing at all. */
      readonly kind: "answer"
      readonly status: number
      readonly headers?: Readonly<Record<string, string>>
      readonly body?: string
    }
  /** Waits (on the Effect clock) and then answers properly. */
  | { readonly kind: "delay"; readonly duration: Duration.Input }
  /** Does what was asked, and sends the first half of the answer as if it were the whole. */
  | { readonly kind: "truncate" }
  /** Closes the connection without an answer; `"after"` only when the request has been carried out. */
  | { readonly kind: "drop"; readonly when?: "before" | "after" }
  /** Never answers. */
  | { readonly kind: "hang" }
  /** Makes statements that are started now look PENDING for so many polls. */
  | { readonly kind: "pending"; readonly polls: number }

/** Which requests meet a misbehaviour, and how often. */
export interface FaultMatch {
  readonly method?: string
  /** A prefix of the path, or a predicate; without it every path. */
  readonly path?: string | ((path: string) => boolean)
  /** So many matching requests and no more; without it all, until the scope closes. */
  readonly times?: number
}

export type Fault = FaultMatch & Misbehaviour

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

/** The misbehaviours that are switched on. */
export class Faults {
  private readonly active = new Set<Active>()

  add(fault: Fault): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => {
        const active = { fault, left: fault.times ?? Infinity }
        this.active.add(active)
        return active
      }),
      (active) => Effect.sync(() => this.active.delete(active))
    )
  }

  private take(method: string, path: string, wanted: (fault: Fault) => boolean): Fault | undefined {
    for (const active of this.active) {
      if (active.left > 0 && wanted(active.fault) && matches(active.fault, method, path)) {
        active.left--
        return active.fault
      }
    }
    return undefined
  }

  /** How many polls a statement started by this request is to look PENDING. */
  pendingPolls(method: string, path: string): number {
    const fault = this.take(method, path, (fault) => fault.kind === "pending")
    return fault?.kind === "pending" ? fault.polls : 0
  }

  apply<E, R>(
    request: HttpServerRequest.HttpServerRequest,
    path: string,
    answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
  ): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> {
    const delay = this.take(request.method, path, (fault) => fault.kind === "delay")
    const fault = this.take(request.method, path, (fault) => fault.kind !== "delay" && fault.kind !== "pending")
    const faulty = Effect.suspend(() => {
      switch (fault?.kind) {
        case "answer":
          return Effect.succeed(
            HttpServerResponse.text(fault.body ?? "", { status: fault.status, headers: { ...fault.headers } })
          )
        case "truncate":
          return Effect.map(answer, (response) => halve(response))
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
