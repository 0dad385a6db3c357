/** Passes requests, responses and upgraded connections on without buffering. When one side closes, the other does too. */
import {
  Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as send,
  type ServerResponse,
  STATUS_CODES
} from "node:http"
import { type Duplex, pipeline } from "node:stream"

/** The address of an application. */
export interface Address {
  readonly hostname: string
  readonly port: number
}

/** Headers that replace those of a request; `undefined` removes one. */
export type Changes = Readonly<Record<string, string | undefined>>

// Hop-by-hop headers: each describes one connection, and a proxy has two.
const ofConnection = [
  "connection",
  "expect",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "upgrade"
]

const without = (headers: IncomingHttpHeaders, names: ReadonlyArray<string>): IncomingHttpHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)))

// With `connection: close`, an application that answers early would reset the connection, and its answer would be lost.
const requestTo = (address: Address, request: IncomingMessage, headers: IncomingHttpHeaders): ClientRequest =>
  send({
    ...address,
    method: request.method,
    path: request.url,
    headers,
    agent: new Agent({ keepAlive: true, maxFreeSockets: 0 })
  })

const withChanges = (headers: IncomingHttpHeaders, changes: Changes): IncomingHttpHeaders =>
  Object.fromEntries(Object.entries({ ...headers, ...changes }).filter(([, value]) => value !== undefined))

/** Sends the application's response to a request. Calls `fail` if the application does not respond. */
export const forward = (
  address: Address,
  request: IncomingMessage,
  response: ServerResponse,
  changes: Changes,
  fail: (error: Error) => void
): void => {
  const sent = requestTo(address, request, withChanges(without(request.headers, ofConnection), changes))
  // An application that has answered may refuse the rest of a body: its answer ends by itself, whole or not.
  sent.on("error", (error) => {
    if (!response.headersSent) fail(error)
  })
  sent.once("close", () => {
    // The client may still send its body, before it reads the answer and sends its next request.
    request.unpipe(sent).resume()
    if (!response.headersSent) fail(new Error("it closed the connection"))
  })
  sent.once("response", (answer) => {
    try {
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, rawWithout(answer, ofConnection))
    } catch (cause) {
      // Node reads answers that it does not write, such as one of status 099.
      return sent.destroy(cause instanceof Error ? cause : undefined)
    }
    // The head of an event stream may be sent long before its first event.
    response.flushHeaders()
    pipeline(answer, response, () => {})
  })
  // A client that disconnects before the response also disconnects from the application.
  response.once("close", () => sent.destroy())
  // A pipeline would close the client's connection with that of an application that has answered early.
  request.pipe(sent)
}

/** Connects an upgrade, such as that of a WebSocket, to the application. */
export const upgrade = (
  address: Address,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  changes: Changes,
  fail: (error: Error) => void
): void => {
  const sent = requestTo(address, request, withChanges(request.headers, changes))
  const end = () => void sent.destroy()
  sent.on("error", fail)
  socket.once("close", end).on("error", end)
  const write = (answer: IncomingMessage, headers: ReadonlyArray<string>) =>
    socket.write(headOf(answer.statusCode ?? 502, headers))
  sent.once("response", (answer) => {
    write(answer, [...rawWithout(answer, [...ofConnection, "transfer-encoding"]), "connection", "close"])
    pipeline(answer, socket, () => {})
  })
  sent.once("upgrade", (answer, upgraded, rest) => {
    write(answer, answer.rawHeaders)
    socket.write(rest)
    upgraded.write(head)
    pipeline(socket, upgraded, socket, () => {})
  })
  sent.end()
}

/** Returns the head of a response on a raw connection. */
export const headOf = (status: number, rawHeaders: ReadonlyArray<string>): string => {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`]
  for (let i = 0; i < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`)
  return `${lines.join("\r\n")}\r\n\r\n`
}

const rawWithout = ({ rawHeaders }: IncomingMessage, names: ReadonlyArray<string>): Array<string> =>
  rawHeaders.filter((_, i) => !names.includes((rawHeaders[i - (i % 2)] ?? "").toLowerCase()))
