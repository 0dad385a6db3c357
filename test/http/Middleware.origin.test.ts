import { assert, layer } from "@effect/vitest"
import { AsService, AsUser, Failures, Middleware } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { inspect } from "node:util"
import { alice } from "../fixtures/people.ts"
import { serve, Served } from "./harness.ts"

const write = HttpApiEndpoint.post("write", "/write", { payload: Schema.Struct({ item: Schema.String }) })
const read = HttpApiEndpoint.get("read", "/read")

class Api extends HttpApi.make("test")
  .add(
    HttpApiGroup.make("user").add(read, write).middleware(AsUser).prefix("/user"),
    HttpApiGroup.make("service").add(read, write).middleware(AsService).prefix("/service")
  )
  .middleware(Failures) {}

let written: Array<string> = []
const wrote = (path: string) => Effect.sync(() => void written.push(path))

const Handlers = Layer.merge(
  HttpApiBuilder.group(Api, "user", (handlers) =>
    handlers.handle("read", () => Effect.void).handle("write", () => wrote("/user"))
  ),
  HttpApiBuilder.group(Api, "service", (handlers) =>
    handlers.handle("read", () => Effect.void).handle("write", () => wrote("/service"))
  )
)

const plain = (path: `/${string}`) =>
  Layer.merge(
    HttpRouter.add("GET", `${path}/read`, HttpServerResponse.empty()),
    HttpRouter.add("POST", `${path}/write`, Effect.as(wrote(path), HttpServerResponse.empty()))
  )

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(Middleware.layer)),
  plain("/plain/user").pipe(Layer.provide(Middleware.asUser.layer)),
  plain("/plain/service").pipe(Layer.provide(Middleware.asService.layer))
)

// A page sends a Blob without a type in this way, without a preflight.
const untyped: Record<string, Array<string>> = { "content-type": [] }

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Middleware", (it) => {
  it.layer(serve(Routes))("and the pages of other sites", (it) => {
    const sent = Effect.fnUntraced(function* (method: string, path: string, from: Record<string, string>) {
      const { call, port } = yield* Served
      const { headers } = yield* LocalWorkspace.LocalWorkspace
      const of = (value: string) => value.replace("PORT", String(port))
      const own = Object.fromEntries(Object.entries(from).map(([name, value]) => [name, of(value)]))
      written = []
      const answer = yield* call(method, path, {
        ...(method === "POST" && { body: { item: "Tea" } }),
        headers: { ...(yield* headers(alice)), ...untyped, ...own }
      })
      return { ...answer, written }
    })

    it.effect.each(["/user", "/service", "/plain/user", "/plain/service"])(
      "runs no POST to %s that the page of another site sends",
      (path) =>
        Effect.gen(function* () {
          for (const from of [
            { "sec-fetch-site": "cross-site" },
            { "sec-fetch-site": "same-site" },
            { "sec-fetch-site": "cross-site", origin: "http://127.0.0.1:PORT" },
            { origin: "https://evil.example.com" },
            { origin: "null" },
            { origin: "http://127.0.0.1:1" }
          ]) {
            const { json, status, written } = yield* sent("POST", `${path}/write`, from)
            assert.deepStrictEqual([status, json?._tag, written], [403, "ForeignOrigin", []], inspect(from))
          }
        })
    )

    it.effect.each(["/user", "/service", "/plain/user", "/plain/service"])(
      "runs a POST to %s of its own page and of a client that is not a browser",
      (path) =>
        Effect.gen(function* () {
          for (const from of [
            {},
            { "sec-fetch-site": "none" },
            // Vite's proxy keeps the Origin of the page, and sets another Host.
            { "sec-fetch-site": "same-origin", origin: "http://localhost:5173" },
            { origin: "http://127.0.0.1:PORT" },
            { origin: "https://app.example.com", "x-forwarded-host": "app.example.com" }
          ]) {
            const { status, written } = yield* sent("POST", `${path}/write`, from)
            assert.deepStrictEqual([Math.floor(status / 100), written], [2, [path]], inspect(from))
          }
        })
    )

    it.effect.each(["/user", "/service", "/plain/user", "/plain/service"])(
      "answers a GET of %s that follows a link on another site",
      (path) =>
        Effect.gen(function* () {
          const from = { "sec-fetch-site": "cross-site", origin: "https://other.example.com" }
          for (const method of ["GET", "HEAD"]) {
            const { status } = yield* sent(method, `${path}/read`, from)
            assert.strictEqual(Math.floor(status / 100), 2)
          }
        })
    )
  })
})
