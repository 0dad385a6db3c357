import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Latch, Layer, Logger, Schedule, Schema, Scope, Stream } from "effect"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import * as App from "../src/App.ts"
import { connection, get, runApp } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import { otlpReceiver } from "./fixtures/otlpReceiver.ts"

describe("App.runMain", () => {
  it.live.each(["SIGTERM", "SIGINT"] as const)(
    "finishes the request in flight on %s, then exports its telemetry",
    (signal) =>
      Effect.gen(function* () {
        const collector = yield* otlpReceiver("grpc")
        const app = yield* runApp(["tells"], { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint })
        const port = yield* app.port
        const idle = yield* connection(port)
        idle.send(get("/"))
        yield* eventually(() => idle.state.received.endsWith("here"))
        const silent = yield* connection(port)
        const busy = yield* connection(port)
        busy.send(get("/slow"))
        yield* app.printed("slow begun")
        yield* app.kill(signal)

        yield* eventually(() => idle.state.closed)
        assert.strictEqual(busy.state.received, "")
        // Node ends idle connections just before it stops listening.
        const isRefused = Effect.match(Effect.scoped(connection(port)), {
          onFailure: ({ message }) => message.includes("ECONNREFUSED"),
          onSuccess: () => false
        })
        yield* eventually(isRefused)
        yield* app.kill("SIGUSR2")
        yield* eventually(() => busy.state.closed)
        assert.include(busy.state.received.toLowerCase(), "\r\nconnection: close\r\n")
        assert.isTrue(busy.state.received.endsWith("\r\n\r\n" + "whole ".repeat(10_000)))
        yield* eventually(() => silent.state.closed)

        assert.strictEqual(yield* app.exit, 0)
        assert.strictEqual(app.output.stderr, "")
        const spans = collector.received.spans.map((span) => span.attributes["url.path"] ?? span.name)
        assert.includeMembers(spans, ["/slow", "slow work"])
        assert.deepInclude(
          collector.received.metrics.map(({ name, value }) => ({ name, value })),
          {
            name: "slow_answers",
            value: 1
          }
        )
        // A layer that closes before telemetry still exports its log; one that closes after it only prints.
        const bodies = collector.received.logs.map((log) => log.body)
        assert.includeMembers(bodies, ["slow begun", "services closed"])
        assert.notInclude(bodies, "everything closed")
        assert.isBelow(app.output.stdout.indexOf("services closed"), app.output.stdout.indexOf("everything closed"))
      })
  )

  it.live("interrupts a request that still runs after the grace period", () =>
    Effect.gen(function* () {
      const app = yield* runApp(["impatient"])
      const endless = yield* connection(yield* app.port)
      endless.send(get("/endless"))
      yield* app.printed("endless begun")
      yield* app.kill("SIGTERM")
      assert.strictEqual(yield* app.exit, 0)
      assert.include(endless.state.received, "HTTP/1.1 503")
    })
  )

  it.live("exits with 1 when closing takes longer than closeTimeout", () =>
    Effect.gen(function* () {
      const app = yield* runApp(["impatient", "500"])
      const stubborn = yield* connection(yield* app.port)
      stubborn.send(get("/stubborn"))
      yield* app.printed("stubborn begun")
      yield* app.kill("SIGTERM")
      assert.strictEqual(yield* app.exit, 1)
      assert.strictEqual(app.output.stderr, "The application did not close within 500ms (closeTimeout)\n")
    })
  )

  it.live("treats two SIGINT at once as one, and exits with 130 on a later SIGINT", () =>
    Effect.gen(function* () {
      const patient = yield* runApp(["serve", "twice"])
      const busy = yield* connection(yield* patient.port)
      busy.send(get("/slow"))
      yield* patient.printed("slow begun")
      yield* patient.kill("SIGINT")
      yield* patient.printed("SIGINT twice")
      yield* patient.kill("SIGUSR2")
      assert.strictEqual(yield* patient.exit, 0)
      assert.isTrue(busy.state.received.endsWith("whole "))

      const app = yield* runApp(["impatient"])
      const stubborn = yield* connection(yield* app.port)
      stubborn.send(get("/stubborn"))
      yield* app.printed("stubborn begun")
      yield* Effect.repeat(app.kill("SIGINT"), { schedule: Schedule.spaced("100 millis"), while: app.running })
      assert.strictEqual(yield* app.exit, 130)
    })
  )

  it.live.each([
    {
      failure: "a layer fails",
      main: "unfit",
      env: {},
      message: "No warehouse: set DATABRICKS_WAREHOUSE_ID"
    },
    {
      failure: "OTEL_EXPORTER_OTLP_PROTOCOL is wrong",
      main: "serve",
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_PROTOCOL: "pigeon" },
      message: "OTEL_EXPORTER_OTLP_PROTOCOL is not one of grpc, http/protobuf, http/json: pigeon"
    }
  ])("exits with 1 and one error line when $failure", ({ env, main, message }) =>
    Effect.gen(function* () {
      const app = yield* runApp([main], { ...env })
      assert.strictEqual(yield* app.exit, 1)
      assert.strictEqual(app.output.stderr, `${message}\n`)
      assert.notInclude(app.output.stdout, "Unfit")
    })
  )

  it.live("listens on DATABRICKS_APP_HOST", () =>
    Effect.gen(function* () {
      const app = yield* runApp(["hosted"], { DATABRICKS_APP_HOST: "127.0.0.2" })
      yield* app.printed("Listening on http://127.0.0.2:")
    })
  )

  it.live("exits with 1 and one error line when the port in DATABRICKS_APP_PORT is taken", () =>
    Effect.gen(function* () {
      const first = yield* runApp(["serve"])
      const port = String(yield* first.port)
      const second = yield* runApp(["configured"], { DATABRICKS_APP_PORT: port })
      assert.strictEqual(yield* second.exit, 1)
      assert.strictEqual(
        second.output.stderr,
        `App.layerHttpServer cannot listen on 127.0.0.1, port ${port} (listen EADDRINUSE: address already in use 127.0.0.1:${port}). Set DATABRICKS_APP_PORT to a port that is free\n`
      )
    })
  )

  it.live("closes every layer after a crash, prints the reason and exits with 1", () =>
    Effect.gen(function* () {
      const app = yield* runApp(["crash"])
      const client = yield* connection(yield* app.port)
      client.send(get("/crash"))
      assert.strictEqual(yield* app.exit, 1)
      assert.strictEqual(app.output.stderr, "The ground gave way\n")
      assert.include(app.output.stdout, "everything closed")
    })
  )

  it.live("exits with 1 and prints the stack of a defect", () =>
    Effect.gen(function* () {
      const app = yield* runApp(["defect"])
      assert.strictEqual(yield* app.exit, 1)
      assert.match(app.output.stderr, /^Error: a bug\n\s+at .*effect-databricks-\w+\.mjs:\d+/)
    })
  )

  it.live("exits with 0 when its effect completes", () =>
    Effect.gen(function* () {
      const app = yield* runApp(["done"])
      assert.strictEqual(yield* app.exit, 0)
      assert.strictEqual(app.output.stderr, "")
    })
  )
})

const Bodies = HttpApi.make("bodies").add(
  HttpApiGroup.make("api").add(
    HttpApiEndpoint.post("measure", "/api", { payload: Schema.Struct({ text: Schema.String }), success: Schema.Number })
  )
)

const end = Latch.makeUnsafe()

const Routes = Layer.mergeAll(
  HttpRouter.add("GET", "/late", Effect.as(end.await, HttpServerResponse.text("late"))),
  HttpRouter.add(
    "GET",
    "/stream",
    HttpServerResponse.stream(
      Stream.concat(Stream.succeed("begun"), Stream.fromEffect(Effect.as(end.await, "ended"))).pipe(Stream.encodeText)
    )
  ),
  HttpRouter.add(
    "POST",
    "/router",
    HttpServerRequest.HttpServerRequest.use((request) =>
      Effect.map(request.text, (text) => HttpServerResponse.text(String(text.length)))
    )
  ),
  HttpApiBuilder.layer(Bodies).pipe(
    Layer.provide(
      HttpApiBuilder.group(Bodies, "api", (handlers) =>
        handlers.handle("measure", ({ payload }) => Effect.succeed(payload.text.length))
      )
    )
  )
)

const serving = (options: App.HttpServerOptions) =>
  HttpRouter.serve(Routes, { disableListenLog: true, disableLogger: true }).pipe(
    Layer.provideMerge(App.layerHttpServer({ host: "127.0.0.1", port: 0, ...options }))
  )

describe("App.layerHttpServer", () => {
  const url = HttpServer.addressFormattedWith(Effect.succeed)

  const post = (path: string, length: number) =>
    Effect.gen(function* () {
      const base = yield* url
      const body = JSON.stringify({ text: "x".repeat(length - '{"text":""}'.length) })
      const headers = { "content-type": "application/json" }
      return yield* Effect.promise(() => fetch(base + path, { method: "POST", body, headers })).pipe(
        Effect.map((response) => response.status)
      )
    })

  it.live.each(["/router", "/api"])("answers 413 to a body above 1,000,000 bytes on %s", (path) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* post(path, 1_000_000), 200)
      assert.strictEqual(yield* post(path, 1_000_001), 413)
    }).pipe(Effect.provide(serving({}), { local: true }))
  )

  it.live.each(["/router", "/api"])("answers 413 to a body above maxBodySize on %s", (path) =>
    Effect.gen(function* () {
      assert.strictEqual(yield* post(path, 2_000_000), 200)
      assert.strictEqual(yield* post(path, 2_000_001), 413)
    }).pipe(Effect.provide(serving({ maxBodySize: 2_000_000 }), { local: true }))
  )

  it.live("keeps the user's token out of the log when a handler logs its request", () =>
    Effect.gen(function* () {
      const logged: Array<unknown> = []
      const inspecting = HttpRouter.add(
        "GET",
        "/",
        HttpServerRequest.HttpServerRequest.use((request) =>
          Effect.as(Effect.logInfo(request.headers, request), HttpServerResponse.empty())
        )
      )
      const logger = Logger.layer([Logger.formatJson.pipe(Logger.map((line) => void logged.push(line)))])
      yield* Effect.gen(function* () {
        const headers = { "x-forwarded-access-token": "secret-token", "x-forwarded-user": "alice" }
        const base = yield* url
        yield* Effect.promise(() => fetch(base, { headers }))
      }).pipe(
        Effect.provide(
          HttpRouter.serve(inspecting, { disableListenLog: true, disableLogger: true }).pipe(
            Layer.provideMerge(App.layerHttpServer({ host: "127.0.0.1", port: 0 })),
            Layer.provide(logger)
          )
        )
      )
      assert.include(logged.join(""), "alice")
      assert.notInclude(logged.join(""), "secret-token")
    })
  )

  it.live("answers a request that arrived before the routes were served", () =>
    Effect.gen(function* () {
      const server = yield* HttpServer.HttpServer
      const port = Number(new URL(yield* url).port)
      const early = yield* connection(port)
      early.send(get("/"))
      // Node itself answers this request, after it has read the one before.
      const nonsense = yield* connection(port)
      nonsense.send("nonsense\r\n\r\n")
      yield* eventually(() => nonsense.state.received.includes("400"))
      assert.strictEqual(early.state.received, "")
      yield* server.serve(Effect.succeed(HttpServerResponse.text("ready")))
      yield* eventually(() => early.state.received.endsWith("ready"))
    }).pipe(Effect.provide(App.layerHttpServer({ host: "127.0.0.1", port: 0 }), { local: true }))
  )

  it.live("listens on all interfaces by default", () =>
    Effect.gen(function* () {
      assert.include(yield* url, "//0.0.0.0:")
    }).pipe(Effect.provide(App.layerHttpServer({ port: 0 }), { local: true }))
  )

  it.live("listens on a free port when DATABRICKS_APP_PORT is 0", () =>
    Effect.gen(function* () {
      assert.isAbove(Number(new URL(yield* url).port), 0)
    }).pipe(
      Effect.provide(App.layerHttpServer(), { local: true }),
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { DATABRICKS_APP_PORT: "0" } })))
    )
  )

  it.live("fails and names DATABRICKS_APP_PORT when it is not a port", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Layer.buildWithScope(App.layerHttpServer(), yield* Scope.Scope))
      assert.include(String(error), "DATABRICKS_APP_PORT")
    }).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: { DATABRICKS_APP_PORT: "door" } }))))
  )

  it.live("cuts a half-sent request after the grace period", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(serving({ gracePeriod: "50 millis" }), scope)
      const half = yield* connection(Number(new URL(yield* Effect.provide(url, context)).port))
      half.send("POST /router HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhiPOST /router HT")
      yield* eventually(() => half.state.received.endsWith("2"))
      yield* Scope.close(scope, Exit.void).pipe(Effect.timeout("10 seconds"))
      yield* eventually(() => half.state.closed)
    })
  )

  it.live("answers a request that arrives on an idle connection while it closes", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(serving({ gracePeriod: "1 hour" }), scope)
      const port = Number(new URL(yield* Effect.provide(url, context)).port)
      const idle = yield* connection(port)
      const post = "POST /router HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"
      idle.send(post)
      yield* eventually(() => idle.state.received.endsWith("2"))
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      idle.send(post)
      yield* eventually(() => idle.state.closed)
      const [, first, second] = idle.state.received.toLowerCase().split("http/1.1 200 ok")
      assert.include(first, "\r\nconnection: keep-alive\r\n")
      assert.include(second, "\r\nconnection: close\r\n")
      assert.isTrue(second?.endsWith("\r\n\r\n2"))
      yield* Fiber.join(closing).pipe(Effect.timeout("10 seconds"))
    })
  )

  it.live("waits for requests in flight when it closes, and not for idle connections", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(serving({ gracePeriod: "1 hour" }), scope)
      const port = Number(new URL(yield* Effect.provide(url, context)).port)
      const idle = yield* connection(port)
      idle.send("POST /router HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
      yield* eventually(() => idle.state.received.endsWith("2"))
      const silent = yield* connection(port)
      const streaming = yield* connection(port)
      streaming.send(get("/stream"))
      // Two at once: only the second may end the connection.
      const pipelined = yield* connection(port)
      pipelined.send("POST /router HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi" + get("/late") + get("/late"))
      yield* eventually(() => pipelined.state.received.endsWith("2"))
      yield* eventually(() => streaming.state.received.includes("begun"))
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))

      yield* eventually(() => idle.state.closed && silent.state.closed)
      assert.isUndefined(closing.pollUnsafe())
      end.openUnsafe()
      yield* Fiber.join(closing).pipe(Effect.timeout("10 seconds"))
      yield* eventually(() => streaming.state.closed)
      assert.include(streaming.state.received, "ended\r\n0\r\n")
      assert.lengthOf(pipelined.state.received.match(/late/g) ?? [], 2)
    })
  )
})
