/** A handler that needs the user compiles in a group with AsUser, and not without. */
import * as App from "effect-databricks/App"
import { AsService, AsUser, Middleware, ServiceContext, UserContext } from "effect-databricks"
import { Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

const me = HttpApiEndpoint.get("me", "/me", { success: Schema.String })
const userName = Effect.map(UserContext, (_) => _.userName)

class With extends HttpApi.make("with").add(HttpApiGroup.make("mine").add(me).middleware(AsUser)) {}
class Without extends HttpApi.make("without").add(HttpApiGroup.make("mine").add(me)) {}

const routesWith = HttpApiBuilder.layer(With).pipe(
  Layer.provide(HttpApiBuilder.group(With, "mine", (handlers) => handlers.handle("me", () => userName)))
)

const routesWithout = HttpApiBuilder.layer(Without).pipe(
  Layer.provide(HttpApiBuilder.group(Without, "mine", (handlers) => handlers.handle("me", () => userName))),
  Layer.provide(Middleware.layerAsUser)
)

// The type of `serve` is left to inference: an annotation would hide what is missing.
const launch = <A, E>(_server: Layer.Layer<A, E>) => {}

const Surroundings = Layer.merge(App.layerHttpServer(), ServiceContext.layerConfig())

launch(HttpRouter.serve(routesWith.pipe(Layer.provide(Middleware.layerAsUser))).pipe(Layer.provide(Surroundings)))

// @ts-expect-error -- nothing provides UserContext
launch(HttpRouter.serve(routesWithout).pipe(Layer.provide(Surroundings)))

// @ts-expect-error -- AsUser needs its layer
launch(HttpRouter.serve(routesWith).pipe(Layer.provide(Surroundings)))

/** AsService provides no UserContext. */
class Service extends HttpApi.make("service").add(HttpApiGroup.make("mine").add(me).middleware(AsService)) {}

const routesService = HttpApiBuilder.layer(Service).pipe(
  Layer.provide(HttpApiBuilder.group(Service, "mine", (handlers) => handlers.handle("me", () => userName))),
  Layer.provide(Middleware.layer)
)

// @ts-expect-error -- nothing provides UserContext
launch(HttpRouter.serve(routesService).pipe(Layer.provide(Surroundings)))

/** The same of plain routes. */
const plain = HttpRouter.add("GET", "/me", Effect.map(userName, HttpServerResponse.text))

launch(HttpRouter.serve(plain.pipe(Layer.provide(Middleware.asUser.layer))).pipe(Layer.provide(Surroundings)))

// @ts-expect-error -- nothing provides UserContext
launch(HttpRouter.serve(plain.pipe(Layer.provide(Middleware.asService.layer))).pipe(Layer.provide(Surroundings)))
