/** The server of the proxy: it signs users in, and forwards all other requests to the application. */
import { Effect, type Scope } from "effect"
import { randomUUID } from "node:crypto"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"
import type { LocalWorkspace } from "../LocalWorkspace.ts"
import { StartError } from "../localWorkspace/startError.ts"
import * as Forward from "./forward.ts"
import { chooser, shown, signInPath, signOutPath } from "./page.ts"

const loopback = "127.0.0.1"
const chooserPath = "/.apps/"
const cookieName = "databricks-apps-user"
const remedy = `choose one at ${chooserPath}, or send the cookie ${cookieName}`

// The headers that the proxy of Databricks Apps sets. A client cannot set them. Some servers read an underscore as a hyphen.
const owned = /^(forwarded$|x[-_]forwarded[-_]|x[-_]real[-_]ip$|x[-_]request[-_]id$)/

/** A response that the proxy sends itself. */
interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

const redirect = (location: string, cookie?: string): Reply => ({
  status: 302,
  headers: { location, ...(cookie !== undefined && { "set-cookie": cookie }) }
})

const refusal = (status: number, tag: string, message: string): Reply => ({
  status,
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ _tag: tag, message })
})

const cookiesOf = ({ headers }: IncomingMessage) =>
  (headers.cookie ?? "").split(/; */).flatMap((text) => {
    const [, name, value] = /^\s*([^=]+?)\s*=(.*)$/.exec(text) ?? []
    return name === undefined || value === undefined ? [] : [{ name, value, text }]
  })

/** The path to go to after signing in, which is one of this origin. */
const pathOf = (query: string): string => {
  const origin = "http://localhost"
  const to = new URLSearchParams(query).get("to") ?? "/"
  // A URL leaves out tabs and ends of lines, and encodes letters that a header may not have.
  const url = URL.parse(to, origin)
  return to.startsWith("/") && url?.origin === origin ? `${url.pathname}${url.search}${url.hash}` : "/"
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** A listening proxy. Requests wait until `serve` is called. */
export interface Proxy {
  /** The origin for the browser. */
  readonly origin: string
  /** Serves the application on this port to the users of the workspace. Closes every connection when the scope closes. */
  readonly serve: (
    applicationPort: number,
    workspace: LocalWorkspace["Service"]
  ) => Effect.Effect<void, never, Scope.Scope>
}

interface Handlers {
  readonly request: (request: IncomingMessage, response: ServerResponse) => void
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

/** Listens until the scope closes. */
export const listen = Effect.fnUntraced(function* (port: number): Effect.fn.Return<Proxy, StartError, Scope.Scope> {
  const node = createServer()
  let open: ((handlers: Handlers) => void) | undefined
  const handlers = new Promise<Handlers>((resolve) => (open = resolve))
  node.on("request", (...request) => void handlers.then((_) => _.request(...request)))
  node.on("upgrade", (request, socket, head) => {
    // Node leaves an upgraded connection without a listener: one that is reset would end this process.
    socket.on("error", () => {})
    void handlers.then((_) => _.upgrade(request, socket, head))
  })
  const connections = new Set<Socket>()
  node.on("connection", (socket) => {
    connections.add(socket)
    socket.once("close", () => connections.delete(socket))
  })
  // `closeAllConnections` does not close upgraded connections.
  const close = Effect.sync(() => {
    node.close()
    for (const socket of connections) socket.destroy()
  })
  yield* Effect.acquireRelease(bind(node, port), () => close)
  const address = node.address()
  return {
    origin: `http://localhost:${address !== null && typeof address === "object" ? address.port : port}`,
    serve: (applicationPort, workspace) =>
      Effect.acquireRelease(
        Effect.map(handlersOf(applicationPort, workspace), (handlers) => open?.(handlers)),
        () => close
      )
  }
})

const handlersOf = Effect.fnUntraced(function* (
  applicationPort: number,
  workspace: LocalWorkspace["Service"]
): Effect.fn.Return<Handlers> {
  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  const application: Forward.Address = { hostname: loopback, port: applicationPort }
  const headersOf = new Map(
    yield* Effect.forEach(workspace.users, ({ userName }) =>
      // A token expires after 1 hour: the application always gets one with at least half of it left.
      Effect.map(
        Effect.cachedWithTTL(workspace.headers(userName), "30 minutes"),
        (headers) => [userName, headers] as const
      )
    )
  )

  /** Returns the user of this name, or the only user whose e-mail address has this local part. */
  const personOf = (name: string): string | undefined => {
    if (headersOf.has(name)) return name
    const found = Array.from(headersOf.keys()).filter((userName) => userName.startsWith(`${name}@`))
    return found.length === 1 ? found[0] : undefined
  }
  /** Returns the name in the proxy's cookie. */
  const nameOf = (request: IncomingMessage) =>
    decoded(cookiesOf(request).find(({ name }) => name === cookieName)?.value ?? "")
  const signedIn = (request: IncomingMessage) => personOf(nameOf(request))

  const unknown = (name: string) => {
    const known = Array.from(headersOf.keys())
    const others = known.length > shown ? ` and ${known.length - shown} others` : ""
    return `The local workspace has no user "${name}". It has ${known.slice(0, shown).join(", ")}${others}: ${remedy}`
  }

  /** Returns the proxy's own response, or `undefined` for a request to forward. */
  const replyTo = (request: IncomingMessage): Reply | undefined => {
    if (!/^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(request.headers.host ?? "")) {
      return refusal(
        403,
        "ForeignHost",
        "The proxy accepts requests to localhost and 127.0.0.1 only: open it by one of these names"
      )
    }
    const [path = "", ...query] = (request.url ?? "").split("?")
    const name = nameOf(request)
    const user = personOf(name)
    if (path.startsWith(signInPath)) {
      const name = decoded(path.slice(signInPath.length))
      const person = personOf(name)
      // A page of another site, or of another port, cannot sign anybody in.
      if (/^(cross|same)-site$/.test(String(request.headers["sec-fetch-site"]))) return redirect(chooserPath)
      return person === undefined
        ? refusal(404, "UnknownUser", unknown(name))
        : redirect(
            pathOf(query.join("?")),
            `${cookieName}=${encodeURIComponent(person)}; Path=/; HttpOnly; SameSite=Lax`
          )
    }
    if (path === signOutPath) return redirect(chooserPath, `${cookieName}=; Path=/; Max-Age=0`)
    if (path === chooserPath) {
      return {
        status: 200,
        headers: { "content-type": "text/html; charset=utf-8" },
        body: chooser(workspace.users, user)
      }
    }
    if (user !== undefined) return undefined
    return request.method === "GET" && request.headers.accept?.includes("text/html")
      ? redirect(chooserPath)
      : refusal(401, "NotSignedIn", name === "" ? `The request has no signed-in user: ${remedy}` : unknown(name))
  }

  /** Returns the headers of the signed-in user, which replace those of the client. */
  const changesFor = async (request: IncomingMessage): Promise<Forward.Changes> => {
    const headers = headersOf.get(signedIn(request) ?? "")
    const cookies = cookiesOf(request).filter(({ name }) => name !== cookieName)
    return {
      ...Object.fromEntries(
        Object.keys(request.headers).flatMap((name) => (owned.test(name) ? [[name, undefined]] : []))
      ),
      ...(headers && (await run(headers))),
      "x-forwarded-host": request.headers.host,
      "x-real-ip": request.socket.remoteAddress,
      "x-request-id": randomUUID(),
      cookie: cookies.length === 0 ? undefined : cookies.map(({ text }) => text).join("; ")
    }
  }

  const down = (error: Error) =>
    refusal(
      502,
      "ApplicationUnreachable",
      `The application at ${loopback}:${applicationPort} did not answer (${error.message}): check its log`
    )

  const handle = (
    request: IncomingMessage,
    refuse: (reply: Reply) => void,
    pass: (changes: Forward.Changes) => void
  ) => {
    const reply = replyTo(request)
    if (reply !== undefined) return refuse(reply)
    // Who has been renamed meanwhile is not there any more.
    void changesFor(request).then(pass, ({ message }) => refuse(refusal(401, "NotSignedIn", message)))
  }

  return {
    request: (request, response) =>
      handle(
        request,
        (reply) => answer(response, reply),
        (changes) => Forward.forward(application, request, response, changes, (error) => answer(response, down(error)))
      ),
    upgrade: (request, socket, head) => {
      const refuse = ({ body = "", headers = {}, status }: Reply) =>
        socket.end(Forward.headOf(status, [...Object.entries(headers).flat(), "connection", "close"]) + body)
      handle(request, refuse, (changes) =>
        Forward.upgrade(application, request, socket, head, changes, (error) => void refuse(down(error)))
      )
    }
  }
})

const bind = (node: Server, port: number) =>
  Effect.callback<void, StartError>((resume) => {
    node.once("error", (cause) =>
      resume(
        Effect.fail(new StartError({ message: `AppsProxy cannot listen on port ${port}: ${cause.message}`, cause }))
      )
    )
    node.listen(port, loopback, () => resume(Effect.void))
  })

const answer = (response: ServerResponse, { body = "", headers = {}, status }: Reply) =>
  void response.writeHead(status, { ...headers, "cache-control": "no-store" }).end(body)
