import { assert, layer } from "@effect/vitest"
import { App, getWorkspaceClient, Middleware, UserContext } from "effect-databricks"
import { AppsProxy, LocalWorkspace } from "effect-databricks/testing"
import { Context, Deferred, Effect, Fiber, Layer, Queue, Schema, Stream } from "effect"
import { HttpClientRequest, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { NetAddress } from "effect/net"
import * as Http from "node:http"
import * as Net from "node:net"
import { connection } from "../fixtures/child.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob } from "../fixtures/people.ts"
import * as RawServer from "../fixtures/rawServer.ts"
import { serviceContext } from "../fixtures/workspace.ts"

/** What the routes of the application under test tell their test, and hear from it. */
class Wire extends Context.Service<
  Wire,
  {
    readonly events: Queue.Queue<string>
    readonly received: Queue.Queue<string>
    readonly left: Deferred.Deferred<void>
  }
>()("test/Wire") {
  static readonly layer = Layer.effect(
    Wire,
    Effect.all({ events: Queue.unbounded<string>(), received: Queue.unbounded<string>(), left: Deferred.make<void>() })
  )
}

const Me = Schema.Struct({ userName: Schema.String })

const me = Effect.gen(function* () {
  const client = yield* getWorkspaceClient
  const { userName } = yield* client.requestJson(HttpClientRequest.get("/api/2.0/preview/scim/v2/Me"), Me)
  return HttpServerResponse.jsonUnsafe({ workspace: userName, application: (yield* UserContext).userName })
})

const headers = HttpServerRequest.HttpServerRequest.useSync(({ headers }) =>
  HttpServerResponse.jsonUnsafe({ ...headers })
)

const Routes = Layer.mergeAll(
  HttpRouter.add("GET", "/me", me).pipe(Layer.provide(Middleware.asUser.layer)),
  HttpRouter.add("GET", "/headers", headers),
  HttpRouter.add(
    "GET",
    "/events",
    Effect.map(Wire, ({ events, left }) =>
      Stream.fromQueue(events).pipe(
        Stream.encodeText,
        Stream.ensuring(Deferred.succeed(left, undefined)),
        HttpServerResponse.stream,
        HttpServerResponse.setHeader("set-cookie", "a=1")
      )
    )
  ),
  HttpRouter.add(
    "POST",
    "/upload",
    Effect.gen(function* () {
      const { received } = yield* Wire
      const { stream } = yield* HttpServerRequest.HttpServerRequest
      yield* Stream.runForEach(Stream.decodeText(stream), (text) => Queue.offer(received, text))
      return HttpServerResponse.text("stored", { status: 201 })
    })
  ),
  HttpRouter.add(
    "GET",
    "/echo",
    Effect.gen(function* () {
      const socket = yield* Effect.flatMap(HttpServerRequest.HttpServerRequest, (_) => _.upgrade)
      const { write } = yield* socket.writer
      const { pull } = yield* socket.reader
      const [text] = yield* pull
      yield* write(`${String(text)} again`)
      return HttpServerResponse.empty()
    }).pipe(Effect.scoped)
  )
)

const Proxied = HttpRouter.serve(Routes, { disableListenLog: true, disableLogger: true }).pipe(
  Layer.provideMerge(AppsProxy.layer({ port: 0 })),
  Layer.provide(App.layerHttpServer({ host: "127.0.0.1", port: 0 })),
  Layer.provideMerge(Wire.layer),
  Layer.provideMerge(serviceContext()),
  Layer.provideMerge(
    LocalWorkspace.layer({ users: [alice, bob, "carol@example.com"].map((userName) => ({ userName })) })
  )
)

/** An application that listens nowhere. */
const Stopped = Layer.succeed(
  HttpServer.HttpServer,
  HttpServer.make({ address: NetAddress.inetAddressFromStringUnsafe("127.0.0.1:1"), serve: () => Effect.void })
)

interface Answer {
  readonly status: number | undefined
  readonly headers: Http.IncomingHttpHeaders
  readonly text: Promise<string>
  readonly first: Promise<string>
  readonly leave: () => void
}

/** A proxy in front of this server. */
const inFrontOf = (server: ReturnType<typeof RawServer.listening>) =>
  Effect.map(server, ({ port }) => {
    const address = NetAddress.inetAddressFromStringUnsafe(`127.0.0.1:${port}`)
    return AppsProxy.layer({ port: 0 }).pipe(
      Layer.provide(Layer.succeed(HttpServer.HttpServer, HttpServer.make({ address, serve: () => Effect.void })))
    )
  }).pipe(Layer.unwrap, Layer.fresh)

/** Sends a request to a proxy; `as` is the person that its cookie names. */
const ask = (
  path: string,
  {
    as,
    body,
    headers,
    method = "GET"
  }: {
    readonly as?: string
    readonly body?: (write: Http.ClientRequest) => void
    readonly headers?: Http.OutgoingHttpHeaders
    readonly method?: string
  } = {},
  origin?: string
) =>
  Effect.flatMap(AppsProxy.AppsProxy, (proxy) =>
    Effect.callback<Answer, Error>((resume) => {
      const request = Http.request(new URL(origin ?? proxy.origin), {
        path,
        method,
        agent: false,
        family: 4,
        headers: { ...(as !== undefined && { cookie: `theme=dark; databricks-apps-user=${as}` }), ...headers }
      })
      request.on("error", (error) => resume(Effect.fail(error)))
      request.on("response", (response) => {
        response.setEncoding("utf8").on("error", () => {})
        let text = ""
        response.on("data", (chunk: string) => (text += chunk))
        resume(
          Effect.succeed({
            status: response.statusCode,
            headers: response.headers,
            text: new Promise<string>((resolve) => response.once("end", () => resolve(text))),
            first: new Promise<string>((resolve) => response.once("data", resolve)),
            leave: () => request.destroy()
          })
        )
      })
      if (body === undefined) request.end()
      else body(request)
    })
  )

const json = (answer: Answer) =>
  Effect.map(
    Effect.promise(() => answer.text),
    (text) => JSON.parse(text)
  )

layer(Proxied, { excludeTestServices: true, timeout: "60 seconds" })("AppsProxy", (it) => {
  it.effect("runs a request as the person of its cookie, by whole or short name", () =>
    Effect.gen(function* () {
      for (const [as, user] of [
        [alice, alice],
        ["bob", bob],
        [encodeURIComponent(bob), bob]
      ] as const) {
        const answer = yield* ask("/me", { as })
        assert.deepStrictEqual(yield* json(answer), { workspace: user, application: user })
      }
    })
  )

  it.effect("signs in at /.apps/as/ and out at /.apps/out", () =>
    Effect.gen(function* () {
      const signedIn = yield* ask("/.apps/as/alice?to=/docs%3Fa=b")
      assert.deepStrictEqual([signedIn.status, signedIn.headers.location], [302, "/docs?a=b"])
      const [cookie] = signedIn.headers["set-cookie"]!
      assert.match(cookie!, /; HttpOnly; SameSite=Lax$/)
      const answer = yield* ask("/me", { headers: { cookie: cookie!.split(";")[0] } })
      assert.deepInclude(yield* json(answer), { application: alice })
      const out = yield* ask("/.apps/out", { as: alice })
      assert.match(out.headers["set-cookie"]![0]!, /^databricks-apps-user=; .*Max-Age=0/)
      assert.strictEqual(out.headers.location, "/.apps/")
    })
  )

  it.effect("redirects nowhere but to a path of its own after signing in", () =>
    Effect.gen(function* () {
      for (const to of [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "",
        "javascript:1"
      ]) {
        const { headers } = yield* ask(`/.apps/as/alice?to=${encodeURIComponent(to)}`)
        assert.strictEqual(headers.location, "/", to)
      }
    })
  )

  it.effect("redirects after signing in to a path of letters that a header may not have", () =>
    Effect.gen(function* () {
      const { headers } = yield* ask(`/.apps/as/alice?to=${encodeURIComponent("/docs/€\n?a=b#c")}`)
      assert.strictEqual(headers.location, "/docs/%E2%82%AC?a=b#c")
    })
  )

  it.effect("lets no page of another site or port sign a person in", () =>
    Effect.gen(function* () {
      for (const site of ["cross-site", "same-site"]) {
        const { headers } = yield* ask("/.apps/as/bob", { as: alice, headers: { "sec-fetch-site": site } })
        assert.deepStrictEqual([headers.location, headers["set-cookie"]], ["/.apps/", undefined])
      }
      const { headers } = yield* ask("/.apps/as/bob", { headers: { "sec-fetch-site": "same-origin" } })
      assert.strictEqual(headers.location, "/")
    })
  )

  it.effect("answers 401 to a person who has been renamed", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      yield* workspace.updateUser("carol@example.com", { userName: "caroline@example.com" })
      const answer = yield* ask("/me", { as: "carol" })
      const { _tag, message } = yield* json(answer)
      assert.deepStrictEqual([answer.status, _tag], [401, "NotSignedIn"])
      assert.include(message, "carol@example.com")
    })
  )

  it.effect("shows the people to a browser without a cookie, and answers anything else with 401", () =>
    Effect.gen(function* () {
      const page = yield* ask("/docs", { headers: { accept: "text/html,*/*" } })
      assert.deepStrictEqual([page.status, page.headers.location], [302, "/.apps/"])
      const chooser = yield* Effect.flatMap(ask("/.apps/", { as: bob }), (_) => Effect.promise(() => _.text))
      assert.include(chooser, `href="/.apps/as/${encodeURIComponent(alice)}"`)
      assert.include(chooser, `href="/.apps/as/${encodeURIComponent(bob)}" aria-current="true"`)
      const has = (name: string) =>
        `The local workspace has no user "${name}". It has ${alice}, ${bob}, carol@example.com`
      for (const [as, message] of [
        [undefined, "The request has no signed-in user"],
        ["", "The request has no signed-in user"],
        ["nobody", has("nobody")],
        ["no%20body", has("no body")],
        ["%E0%A4%A", has("%E0%A4%A")],
        ["alice@", has("alice@")]
      ] as const) {
        const answer = yield* ask("/me", as === undefined ? {} : { as })
        const refused = yield* json(answer)
        assert.deepStrictEqual([answer.status, refused._tag], [401, "NotSignedIn"], as)
        assert.match(refused.message, new RegExp(`^${message}: choose one at /\\.apps/, or send the cookie`))
      }
      const unknown = yield* ask("/.apps/as/dave")
      const refused = yield* json(unknown)
      assert.deepStrictEqual([unknown.status, refused._tag], [404, "UnknownUser"])
      assert.include(refused.message, has("dave"))
    })
  )

  it.effect("replaces each header of its own that a client sends, and keeps the others", () =>
    Effect.gen(function* () {
      const answer = yield* ask("/headers", {
        as: alice,
        headers: {
          "x-forwarded-user": "1@1",
          "X-Forwarded-Email": bob,
          "x-forwarded-access-token": "forged",
          "x-forwarded-for": "10.0.0.1",
          "x-real-ip": "10.0.0.1",
          "x-forwarded-groups": "forged",
          X_Forwarded_Email: "forged",
          "X-Forwarded_User": ["forged", "forged"],
          forwarded: "for=forged",
          "x-request-id": "mine",
          "x-own": "kept",
          authorization: "Bearer kept"
        }
      })
      const seen = yield* json(answer)
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const { "x-forwarded-access-token": _, ...ofAlice } = yield* workspace.headers(alice)
      assert.deepInclude(seen, {
        ...ofAlice,
        "x-real-ip": "127.0.0.1",
        "x-own": "kept",
        authorization: "Bearer kept",
        cookie: "theme=dark"
      })
      assert.match(seen["x-request-id"], /^[\da-f-]{36}$/)
      assert.notProperty(seen, "x-forwarded-for")
      assert.notInclude(JSON.stringify(seen), "forged")
    })
  )

  it.effect("passes an event on before the next one is there, and the client's leaving too", () =>
    Effect.gen(function* () {
      const { events, left } = yield* Wire
      yield* Queue.offer(events, "data: 1\n\n")
      const answer = yield* ask("/events", { as: alice })
      assert.deepStrictEqual(answer.headers["set-cookie"], ["a=1"])
      assert.strictEqual(yield* Effect.promise(() => answer.first), "data: 1\n\n")
      assert.isFalse(yield* Deferred.isDone(left))
      answer.leave()
      yield* Deferred.await(left)
    })
  )

  it.effect("passes a body on while it is sent", () =>
    Effect.gen(function* () {
      const { received } = yield* Wire
      let finish = () => {}
      const answer = yield* Effect.forkChild(
        ask("/upload", {
          as: alice,
          method: "POST",
          body: (request) => {
            request.write("one")
            finish = () => request.end("two")
          }
        })
      )
      assert.strictEqual(yield* Queue.take(received), "one")
      finish()
      assert.strictEqual(yield* Queue.take(received), "two")
      const { status, text } = yield* Fiber.join(answer)
      assert.deepStrictEqual([status, yield* Effect.promise(() => text)], [201, "stored"])
    })
  )

  it.effect("passes on an answer that comes before the body is read, and the next one of the connection", () =>
    Effect.gen(function* () {
      const { origin } = yield* AppsProxy.AppsProxy
      const client = yield* connection(Number(new URL(origin).port))
      const head = `host: localhost\r\ncookie: databricks-apps-user=${alice}\r\n`
      const body = "x".repeat(8_000_000)
      client.send(`POST / HTTP/1.1\r\n${head}content-length: ${body.length}\r\n\r\n`)
      client.send(body)
      client.send(`GET / HTTP/1.1\r\n${head}\r\n`)
      yield* eventually(() => client.state.closed || client.state.received.includes("hello"))
      assert.match(client.state.received, /^HTTP\/1\.1 413 [^]*\r\n\r\n[^]*too large[^]*HTTP\/1\.1 200 /)
    }).pipe(
      Effect.provide(
        inFrontOf(
          RawServer.http(({ method }, response) =>
            method === "POST" ? response.writeHead(413).end("too large") : response.end("hello")
          )
        )
      )
    )
  )

  it.effect("joins a WebSocket to the application, as the signed-in user", () =>
    Effect.gen(function* () {
      const { origin } = yield* AppsProxy.AppsProxy
      const url = `${origin.replace("http://localhost", "ws://127.0.0.1")}/echo`
      const talk = (headers: Record<string, string>) =>
        Effect.callback<string>((resume) => {
          // @ts-expect-error -- Node takes headers here; the type is the browser's
          const socket = new WebSocket(url, { headers })
          socket.addEventListener("open", () => socket.send("hello"))
          socket.addEventListener("message", ({ data }) => {
            resume(Effect.succeed(String(data)))
            socket.close()
          })
          socket.addEventListener("error", () => resume(Effect.succeed("refused")))
        })
      assert.strictEqual(yield* talk({ cookie: "databricks-apps-user=alice" }), "hello again")
      assert.strictEqual(yield* talk({}), "refused")
    })
  )

  it.effect("survives a WebSocket that is reset before it is answered", () =>
    Effect.gen(function* () {
      const port = Number(new URL((yield* AppsProxy.AppsProxy).origin).port)
      const head = "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
      for (const cookie of ["", "cookie: databricks-apps-user=alice\r\n"]) {
        for (let i = 0; i < 10; i++) {
          yield* Effect.callback<void>((resume) => {
            const socket = Net.connect(port, "127.0.0.1", () => {
              socket.write(`${head}${cookie}\r\n`, () => setImmediate(() => socket.resetAndDestroy()))
            })
            socket.on("error", () => {}).once("close", () => resume(Effect.void))
          })
        }
      }
      assert.strictEqual((yield* ask("/me", { as: alice })).status, 200)
    })
  )

  it.effect("refuses requests under a name that is not this machine's", () =>
    Effect.gen(function* () {
      for (const host of ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:80", "evil.example:8000"]) {
        const answer = yield* ask("/me", { as: alice, headers: { host } })
        assert.deepStrictEqual([answer.status, (yield* json(answer))._tag], [403, "ForeignHost"], host)
      }
    })
  )

  it.effect("answers 502 with the address of an application that does not run", () =>
    Effect.gen(function* () {
      const { origin } = yield* AppsProxy.AppsProxy
      const answer = yield* ask("/me", { as: alice }, origin)
      assert.strictEqual(answer.status, 502)
      assert.match((yield* json(answer)).message, /^The application at 127\.0\.0\.1:1 did not answer \(.*ECONNREFUSED/)
    }).pipe(Effect.provide(Layer.fresh(AppsProxy.layer({ port: 0 })).pipe(Layer.provide(Stopped))))
  )

  it.effect("answers 502 when the application's answer cannot be passed on", () =>
    Effect.gen(function* () {
      for (const head of ["HTTP/1.1 099 No", "HTTP/1.1 101 Unasked\r\nconnection: upgrade\r\nupgrade: x", "no HTTP"]) {
        const { status } = yield* Effect.provide(
          ask("/", { as: alice }),
          inFrontOf(
            RawServer.tcp((socket) => socket.on("error", () => {}).once("data", () => socket.end(`${head}\r\n\r\n`)))
          )
        )
        assert.strictEqual(status, 502, head)
      }
    })
  )

  it.effect("fails with the port when it is taken", () =>
    Effect.gen(function* () {
      const { origin } = yield* AppsProxy.AppsProxy
      const { port } = new URL(origin)
      const taken = Layer.build(Layer.fresh(AppsProxy.layer({ port: Number(port) })).pipe(Layer.provide(Stopped)))
      const { message } = yield* Effect.flip(Effect.scoped(taken))
      assert.match(message, new RegExp(`^AppsProxy cannot listen on port ${port}: .*EADDRINUSE`))
    })
  )
})
