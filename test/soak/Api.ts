/** What the application under soak offers; everything but `total` as the person who asks. */
import { AsUser, Failures, ServerSentEvents } from "effect-databricks"
import { Duration, Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"

/** For every operation, its retries included. */
export const timeout = Duration.seconds(5)
/** How often a stream shows that it lives. */
export const heartbeat = Duration.seconds(1)
/** How long requests may run on when the application stops. */
export const gracePeriod = Duration.seconds(8)
/** Of a stream that has all that it should. */
export const rowsOfExport = 60
export const ticksOfWatch = 8

/** Whom the database or the workspace saw. */
export const Seen = Schema.Struct({ caller: Schema.String })

const Order = Schema.Struct({ owner: Schema.String, key: Schema.String })

/** The orders that the caller can see: the last ones, and how many there are. */
export const Orders = Schema.Struct({ caller: Schema.String, total: Schema.Int, last: Schema.Array(Order) })

export const NewOrder = Schema.Struct({
  key: Schema.String,
  /** How long the statement takes, in seconds. */
  pause: Schema.Finite
})

const Events = HttpApiSchema.StreamSse({ data: Schema.Union([Seen, ServerSentEvents.ErrorData]) })
const Written = Seen.pipe(HttpApiSchema.status(201))

class User extends HttpApiGroup.make("user")
  .add(
    HttpApiEndpoint.get("me", "/me", { success: Seen }),
    HttpApiEndpoint.get("mine", "/orders", { success: Orders }),
    HttpApiEndpoint.get("query", "/query", { success: Orders }),
    HttpApiEndpoint.get("cached", "/cached", { success: Seen }),
    HttpApiEndpoint.get("export", "/orders/export", { success: Events }),
    HttpApiEndpoint.get("clock", "/clock", { success: Events }),
    HttpApiEndpoint.get("watch", "/orders/watch", { success: Events }),
    HttpApiEndpoint.post("add", "/orders", { payload: NewOrder, success: Written }),
    HttpApiEndpoint.post("addBoth", "/orders/both", { payload: NewOrder, success: Written }),
    HttpApiEndpoint.post("addByWarehouse", "/orders/warehouse", { payload: NewOrder, success: Written })
  )
  .middleware(AsUser) {}

class System extends HttpApiGroup.make("system").add(HttpApiEndpoint.get("total", "/total", { success: Orders })) {}

export class Api extends HttpApi.make("soak").add(User, System).middleware(Failures) {}
