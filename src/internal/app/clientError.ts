/** Responds to requests that Node's HTTP server cannot parse, which reach no route and no middleware. */
import type { Server } from "node:http"
import type { Socket } from "node:net"

/** The largest head of a request, in bytes. Node's default of 16 KiB is too small for some tokens. */
export const maxHeadBytes = 64 * 1024

const answers: Readonly<Record<string, readonly [status: string, tag: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [
    "431 Request Header Fields Too Large",
    "HeadersTooLarge",
    `The headers of the request are longer than ${maxHeadBytes / 1024} KiB`
  ],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ["413 Content Too Large", "PayloadTooLarge", "The chunk extensions are too long"],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "RequestTimeout", "The request did not arrive in time"]
}

/** The client disconnected before its request ended. */
const left = new Set<string | undefined>(["ECONNRESET", "HPE_INVALID_EOF_STATE"])

const malformed = ["400 Bad Request", "MalformedRequest", "The request is not HTTP/1.1"] as const

// Time for the client to finish sending: closing earlier could lose the response.
const drainMillis = 1_000

/** Responds with a JSON body, closes the connection, and passes a line for the log to `tell`. */
export const answer = (node: Server, tell: (line: string) => void): void => {
  node.on(
    "clientError",
    (error: NodeJS.ErrnoException, socket: Socket & { _httpMessage?: { headersSent: boolean } | null }) => {
      // A further error of a connection that already has its response.
      if (socket.writableEnded) return
      if (!socket.writable || left.has(error.code) || socket._httpMessage?.headersSent === true) {
        socket.destroy()
        return
      }
      const [status, _tag, message] = answers[error.code ?? ""] ?? malformed
      const body = JSON.stringify({ _tag, message })
      socket.end(
        `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`
      )
      setTimeout(() => socket.destroy(), drainMillis).unref()
      // Browsers open connections in advance, which may send nothing.
      if (socket.bytesRead > 0) tell(`${status.split(" ")[0]} ${_tag}: ${message} (${error.code ?? error.message})`)
    }
  )
}
