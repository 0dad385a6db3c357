/** The misbehaviours of the workspace that a test switches on. */
import { Effect, type Scope, Stream } from "effect"
import * as HttpBody from "effect/http/HttpBody"
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
    // The server interrupts the request when it notices.
    return Effect.never
  })

/** Returns the first half of a body, and its size. */
const halfOf = ({
  body
}: HttpServerResponse.HttpServerResponse): readonly [Stream.Stream<Uint8Array, unknown>, number] => {
  if (body._tag === "Uint8Array") {
    const half = Math.floor(body.contentLength / 2)
    return [Stream.make(body.body.subarray(0, half)), half]
  }
  if (body._tag !== "Stream" || body.contentLength === undefined) return [Stream.empty, 0]
  const half = Math.floor(body.contentLength / 2)
  const parts = Stream.mapAccum(
    body.stream,
    () => half,
    (left, chunk) => [left - chunk.length, [chunk.subarray(0, Math.max(0, left))]] as const
  )
  return [Stream.takeUntil(parts, (part) => part.length === 0), half]
}

const withBody = (
  response: HttpServerResponse.HttpServerResponse,
  content: Stream.Stream<Uint8Array, unknown>,
  contentLength: number | undefined
) =>
  HttpServerResponse.setBody(
    response,
    HttpBody.stream(content, response.headers["content-type"] ?? "application/json", contentLength)
  )

const halve = (response: HttpServerResponse.HttpServerResponse) => withBody(response, ...halfOf(response))

const cut = (response: HttpServerResponse.HttpServerResponse, andThen: Effect.Effect<never>) => {
  const [half] = halfOf(response)
  const { body } = response
  return withBody(
    response,
    Stream.concat(half, Stream.fromEffect(andThen)),
    body._tag === "Empty" ? undefined : body.contentLength
  )
}

/** Makes the set of active misbehaviours, which is empty at first. */
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

    /** Returns the number of polls for which a statement of this request looks PENDING. */
    pendingPolls: (method: string, path: string): number => {
      const fault = take(method, path, (fault) => fault.kind === "pending")
      return fault?.kind === "pending" ? fault.polls : 0
    },

    /** Responds to a request with the active misbehaviour that matches it, else properly. */
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
          case "cut":
            return Effect.map(answer, (response) => cut(response, drop(request)))
          case "stall":
            return Effect.map(answer, (response) => cut(response, Effect.never))
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
