/** The HTTP server of the workspace: its routes, with the misbehaviours and the record of requests around them. */
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
    let accepted = 0
    const node = createServer({ keepAliveTimeout: 60_000 })
    node.on("connection", (socket) => {
      accepted++
      sockets.set(socket, accepted)
    })
    // The only way for it to fail is that no route has the path.
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
        connection: sockets.get(toIncomingMessage(request).socket) ?? 0,
        aborted: false
      }
      record(seen)
      // Only what is inside a route is interruptible by default, and a fault may wait for ever outside of one.
      return yield* Effect.interruptible(faults.apply(request, path, app)).pipe(
        Effect.onInterrupt(() => Effect.sync(() => (seen.aborted = true)))
      )
    })
    const server = yield* NodeHttpServer.make(() => node, {
      host: loopback,
      port,
      disablePreemptiveShutdown: true
    }).pipe(
      Effect.mapError((cause) => new StartError({ message: "The port of the workspace cannot be served", cause }))
    )
    yield* server.serve(handler)
    // Otherwise the end would wait for whoever keeps a connection, or for an answer that never comes.
    yield* Effect.addFinalizer(() => Effect.sync(() => node.close().closeAllConnections()))
    const address = node.address()
    const bound = address !== null && typeof address === "object" ? address.port : port
    return { origin: `http://${loopback}:${bound}`, accepted: () => accepted }
  })
