/** Announces the end of a connection whose request has a body of unknown length that was not read to its end. */
import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"
import { Effect } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"

/**
 * Effect's server drains 256 KiB of such a body and then closes the connection. A client that has sent all of it would
 * lose its next request on that connection. For a body with a length Effect's response says so itself.
 */
export const closing = <E, R>(app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.flatMap(app, (response) =>
    Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
      const { complete, headers } = toIncomingMessage(request)
      const isUnread = !complete && headers["transfer-encoding"] !== undefined
      // A streamed response may still read it.
      return isUnread && response.body._tag !== "Stream"
        ? HttpServerResponse.setHeader(response, "connection", "close")
        : response
    })
  )
