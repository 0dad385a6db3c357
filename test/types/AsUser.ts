/** A handler that needs the user compiles in a group with AsUser, and not without. */
import * as App from "effect-databricks/App"
import { AsUser, Middleware, ServiceContext, UserContext } from "effect-databricks"
import { Effect, Layer, Schema } from "effect"
import { HttpRouter } from "effect/http"
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
