/** The HTTP server of the workspace, with its misbehaviours and its record of requests. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"
import { Effect, Redacted } from "effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import { createServer } from "node:http"
import type { Faults } from "./faults.ts"
import type { RecordedRequest } from "../../LocalWorkspace.ts"
import type { Directory } from "../identity/directory.ts"
import { StartError } from "../startError.ts"
import * as Replies from "./replies.ts"
import { bearer, pathOf } from "./requests.ts"

const loopback = "127.0.0.1"

/** The body of a request that is text, JSON or a form, which the route then need not wait for. */
const textOf = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string | undefined> =>
  /json|text|form-urlencoded/.test(request.headers["content-type"] ?? "")
    ? Effect.orElseSucceed(request.text, () => undefined)
    : Effect.succeed(undefined)

const longestBody = 16_384
const bounded = (text: string) => (text.length > longestBody ? `${text.slice(0, longestBody)}…` : text)

/** Serves until the scope closes. */
export const serve = (
  port: number,
  directory: Directory,
  faults: Faults,
  router: HttpRouter.HttpRouter,
  record: (request: RecordedRequest) => void
) =>
  Effect.gen(function* () {
    const sockets = new WeakMap<object, number>()
    const recorded = new WeakMap<object, { aborted: boolean }>()
    let accepted = 0
    // Large enough for the workspace, rather than Node, to refuse a long token.
    const node = createServer({ keepAliveTimeout: 60_000, maxHeaderSize: 128 * 1024 })
    node.on("connection", (socket) => {
      accepted++
      sockets.set(socket, accepted)
    })
    // A body is sent after its handler has returned.
    node.on("request", (request, response) => {
      response.once("close", () => {
        const seen = recorded.get(request)
        // Node 22.16 finishes a response whose last bytes were on their way when the connection broke.
        if (seen !== undefined && (!response.writableFinished || request.socket.errored)) seen.aborted = true
      })
    })
    // It only fails if no route has the path.
    const app = Effect.catch(router.asHttpEffect(), () =>
      Effect.map(
        HttpServerRequest.HttpServerRequest,
        (request) => Replies.endpointNotFound(request.method, pathOf(request)).response
      )
    )
    const handler = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const path = pathOf(request)
      const token = bearer(request)
      const seen = {
        method: request.method,
        path,
        user: token && directory.grant(Redacted.value(token))?.principal.userName,
        token,
        body: undefined as string | undefined,
        connection: sockets.get(toIncomingMessage(request).socket) ?? 0,
        aborted: false
      }
      record(seen)
      recorded.set(toIncomingMessage(request), seen)
      // Only routes are interruptible by default, and a fault may wait forever outside of one.
      return yield* Effect.interruptible(
        Effect.andThen(
          Effect.map(textOf(request), (text) => void (seen.body = text && bounded(directory.redact(text)))),
          faults.apply(request, path, app)
        )
      )
    })
    const server = yield* NodeHttpServer.make(() => node, {
      host: loopback,
      port,
      disablePreemptiveShutdown: true
    }).pipe(
      Effect.mapError((cause) => new StartError({ message: "The local workspace cannot listen on its port", cause }))
    )
    yield* server.serve(handler)
    // Otherwise closing would wait for clients that keep connections, or for a response that never comes.
    yield* Effect.addFinalizer(() => Effect.sync(() => node.close().closeAllConnections()))
    const address = node.address()
    const bound = address !== null && typeof address === "object" ? address.port : port
    return { origin: `http://${loopback}:${bound}`, accepted: () => accepted }
  })
