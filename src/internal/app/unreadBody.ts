/** Announces the end of a connection whose request has a body of unknown length that was not read to its end. */
import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"
import { Effect } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"

/**
 * Effect's server drains 256 KiB of such a body and then closes the connection. A client that has sent all of it would
 * lose its next request on that connection. For a body with a length Effect's response says so itself.
 */
export const closing = <E, R>(app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const message = toIncomingMessage(request)
    if (message.headers["transfer-encoding"] === undefined) return app
    return Effect.map(app, (response) =>
      // A streamed response may still read it.
      message.complete || response.body._tag === "Stream"
        ? response
        : HttpServerResponse.setHeader(response, "connection", "close")
    )
  })
