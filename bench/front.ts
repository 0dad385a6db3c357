/** The addresses of the workspace, with TLS and without: a warehouse that answers at once, and the rest forwarded. */
import { Effect } from "effect"
import * as Http from "node:http"
import * as Https from "node:https"
import type { AddressInfo } from "node:net"
import type { Certificates } from "./certificates.ts"

export interface Front {
  readonly origins: { readonly https: string; readonly http: string }
  /** TCP connections that it has accepted. */
  readonly accepted: () => number
  /** Lets each forwarded call take so many milliseconds more. */
  readonly delay: (milliseconds: number) => void
}

/** `statements` has the response to each authorization. */
export const make = (host: string, { cert, key }: Certificates, statements: ReadonlyMap<string, string>) =>
  Effect.gen(function* () {
    const agent = new Http.Agent({ keepAlive: true })
    let connections = 0
    let delay = 0
    const listen = (scheme: "https" | "http") =>
      Effect.acquireRelease(
        Effect.callback<{ readonly origin: string; readonly server: Http.Server }>((resume) => {
          const serve: Http.RequestListener = (request, response) => {
            if (request.method === "POST" && request.url?.startsWith("/api/2.0/sql/statements") === true) {
              return answer(statements.get(request.headers.authorization ?? ""), request, response)
            }
            const go = () => forward(`${host}${request.url}`, origin(), agent, request, response)
            if (delay === 0) go()
            else setTimeout(go, delay)
          }
          const options = { keepAliveTimeout: 60_000 }
          const server =
            scheme === "https"
              ? Https.createServer({ ...options, cert, key }, serve)
              : Http.createServer(options, serve)
          const origin = () => `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on TCP
          server.on("connection", () => connections++)
          server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ origin: origin(), server })))
        }),
        ({ server }) => Effect.sync(() => void server.close().closeAllConnections())
      )
    const [secure, plain] = [yield* listen("https"), yield* listen("http")]
    const front: Front = {
      origins: { https: secure.origin, http: plain.origin },
      accepted: () => connections,
      delay: (milliseconds) => void (delay = milliseconds)
    }
    return front
  })

const answer = (body: string | undefined, request: Http.IncomingMessage, response: Http.ServerResponse) => {
  if (body === undefined) return void response.writeHead(403).end("Invalid access token.")
  request.resume().once("end", () => {
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body)
  })
}

const forward = (
  url: string,
  origin: string,
  agent: Http.Agent,
  request: Http.IncomingMessage,
  response: Http.ServerResponse
) => {
  const { headers, method } = request
  const onward = Http.request(url, { method, headers, agent }, async (back) => {
    if (!url.includes("/.well-known/")) {
      response.writeHead(back.statusCode!, back.headers)
      return void back.pipe(response)
    }
    // The addresses to sign in at are the workspace's own.
    const body = (await back.setEncoding("utf8").toArray()).join("").replaceAll(new URL(url).origin, origin)
    response.writeHead(back.statusCode!, { ...back.headers, "content-length": Buffer.byteLength(body) }).end(body)
  })
  onward.on("error", () => response.destroy())
  request.pipe(onward)
}
