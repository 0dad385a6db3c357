/** The subjects of the demo. Each has a folder with its Api and handlers, and a screen in `web`. */
import { type Lakebase, Middleware } from "effect-databricks"
import { Config, Effect, Layer, Option } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { type HttpApi, HttpApiBuilder, type HttpApiGroup, HttpApiSwagger, OpenApi } from "effect/http-api"
import type { SqlClient } from "effect/sql"
import { titled } from "./Api.ts"
import { ChatApi } from "./chat/Api.ts"
import { ChatLive } from "./chat/handlers.ts"
import { FilesApi } from "./files/Api.ts"
import { FilesLive } from "./files/handlers.ts"
import { GenieApi } from "./genie/Api.ts"
import { GenieLive } from "./genie/handlers.ts"
import { JobsApi } from "./jobs/Api.ts"
import { JobsLive } from "./jobs/handlers.ts"
import { OrdersApi } from "./orders/Api.ts"
import { OrdersLive } from "./orders/handlers.ts"
import * as Page from "./Page.ts"
import { WhoApi } from "./who/Api.ts"
import { WhoLive } from "./who/handlers.ts"

const subject = <Id extends string, Groups extends HttpApiGroup.Constraint, E, R>(
  screen: Page.Screen,
  api: HttpApi.HttpApi<Id, Groups>,
  handlers: Layer.Layer<HttpApiGroup.ToService<Id, Groups>, E, R>
) => ({
  screen,
  api,
  routes: HttpApiBuilder.layer(api).pipe(Layer.provide(handlers), Layer.provide(Middleware.layer))
})

const ifSet = <A>(variable: string, make: (value: string) => A) =>
  Effect.map(Config.option(Config.NonEmptyString(variable)), (value) => Option.toArray(Option.map(value, make)))

/** The screens and the routes of the subjects whose settings are there. */
export const make = Effect.fnUntraced(function* <E, R>(
  lakebase: Layer.Layer<Lakebase.Lakebase | SqlClient.SqlClient, E, R>
) {
  const who = subject(Page.who, WhoApi, WhoLive)
  const optional = yield* Effect.all([
    ifSet("PGHOST", () => subject(Page.orders, OrdersApi, OrdersLive.pipe(Layer.provide(lakebase)))),
    ifSet("DATABRICKS_VOLUME", (volume) => subject(Page.files, FilesApi, FilesLive(volume))),
    ifSet("DATABRICKS_JOB_ID", (id) => subject(Page.job, JobsApi, JobsLive(id))),
    ifSet("DATABRICKS_GENIE_SPACE_ID", (spaceId) => subject(Page.genie, GenieApi, GenieLive(spaceId))),
    ifSet("DATABRICKS_SERVING_ENDPOINT_NAME", (name) => subject(Page.chat, ChatApi, ChatLive(name)))
  ])
  const others = optional.flat()
  const all = [who, ...others]
  return {
    screens: all.map(({ screen }) => screen),
    routes: Layer.mergeAll(documents(all.map(({ api }) => api)), who.routes, ...others.map(({ routes }) => routes))
  }
})

/** Serves the OpenAPI document of these Apis, and its page. */
const documents = (apis: ReadonlyArray<HttpApi.Constraint>) => {
  // The document is made from the values of the groups: their types are of no use.
  const api = titled((apis as ReadonlyArray<HttpApi.Top>).reduce((all, api) => all.addHttpApi(api)))
  return Layer.merge(
    HttpApiSwagger.layer(api),
    HttpRouter.add("GET", "/openapi.json", HttpServerResponse.jsonUnsafe(OpenApi.fromApi(api)))
  )
}
