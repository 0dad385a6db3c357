import { assert, layer } from "@effect/vitest"
import { AsUser, Failures, Lakebase, Middleware } from "effect-databricks"
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { ServerResponse } from "node:http"
import { queryObjects } from "node:v8"
import * as App from "../src/App.ts"
import { connection } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import { lakebase } from "./fixtures/lakebaseClient.ts"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import { Workspace } from "./fixtures/workspace.ts"

const Who = Schema.Struct({ who: Schema.String })

class Api extends HttpApi.make("retained")
  .add(
    HttpApiGroup.make("mine")
      .add(HttpApiEndpoint.get("who", "/who", { success: Schema.Array(Who) }))
      .middleware(AsUser)
  )
  .middleware(Failures) {}

const Handlers = HttpApiBuilder.group(Api, "mine", (handlers) =>
  handlers.handle("who", () => Effect.flatMap(Lakebase.user, (sql) => sql<typeof Who.Type>`SELECT current_user AS who`))
)

const Application = HttpRouter.serve(
  HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers), Layer.provide(Middleware.layer)),
  { disableListenLog: true, disableLogger: true }
).pipe(
  Layer.provide(lakebase({ idleTimeout: "1 hour" })),
  Layer.provideMerge(App.layerHttpServer({ host: "127.0.0.1", port: 0 })),
  Layer.provideMerge(Workspace)
)

layer(Application, { excludeTestServices: true, timeout: "60 seconds" })("App.layerHttpServer", (it) => {
  it.effect("releases an answered request and its token while connections stay open", () =>
    Effect.gen(function* () {
      const { address } = yield* HttpServer.HttpServer
      assert(address._tag === "InetAddressV4")
      for (const user of [alice, bob]) {
        const headers = Object.entries(yield* requestOf(user)).map(([name, value]) => `${name}: ${value}\r\n`)
        const browser = yield* connection(address.port)
        browser.send(`GET /who HTTP/1.1\r\nhost: x\r\n${headers.join("")}\r\n`)
        yield* eventually(() => browser.state.received.endsWith(`[{"who":"${user}"}]`))
      }
      // It collects the garbage first.
      yield* eventually(() => queryObjects(ServerResponse, { format: "count" }) === 0)
    })
  )
})
