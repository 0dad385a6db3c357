/** The Api of the application under soak. Everything but `total` runs as the user. */
import { AsUser, Failures, GenieMessage, JobRun, ServerSentEvents } from "effect-databricks"
import { Duration, Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"

/** For every operation, its retries included. */
export const timeout = Duration.seconds(5)
/** The interval of a stream's heartbeats. */
export const heartbeat = Duration.seconds(1)
/** The time for requests to finish when the application stops. */
export const gracePeriod = Duration.seconds(8)
/** Of a stream that has all that it should. */
export const rowsOfExport = 60
export const ticksOfWatch = 8

/** The names in the workspace. */
export const spaceId = "sales"
export const model = "assistant"
export const jobId = "1121234567890123457"
export const homeOf = (userName: string) => `/Volumes/main/home/${userName.split("@")[0]}`

/** The caller that the database or the workspace reports. */
export const Seen = Schema.Struct({ caller: Schema.String })

const Order = Schema.Struct({ owner: Schema.String, key: Schema.String })

/** The orders that the caller can see: the last ones, and how many there are. */
export const Orders = Schema.Struct({ caller: Schema.String, total: Schema.Int, last: Schema.Array(Order) })

export const NewOrder = Schema.Struct({
  key: Schema.String,
  /** How long the statement takes, in seconds. */
  pause: Schema.Finite
})

/** A question or prompt, and the manner in which the workspace answers it. */
export const Prompt = Schema.Struct({ key: Schema.String, manner: Schema.String })

/** A part of a model's answer. */
export const Text = Schema.Struct({ text: Schema.String })

export const Started = Schema.Struct({ caller: Schema.String, runId: Schema.String })

const Events = ServerSentEvents.events(Seen)
const Written = Seen.pipe(HttpApiSchema.status(201))

class User extends HttpApiGroup.make("user")
  .add(
    HttpApiEndpoint.get("me", "/me", { success: Seen }),
    HttpApiEndpoint.get("mine", "/orders", { success: Orders }),
    HttpApiEndpoint.get("query", "/query", { success: Orders }),
    HttpApiEndpoint.get("cached", "/cached", { success: Seen }),
    HttpApiEndpoint.get("export", "/orders/export", { success: Events }),
    // Never ends by itself: test/App.stops ends it.
    HttpApiEndpoint.get("clock", "/clock", { success: Events }),
    HttpApiEndpoint.get("watch", "/orders/watch", { success: Events }),
    HttpApiEndpoint.post("add", "/orders", { payload: NewOrder, success: Written }),
    HttpApiEndpoint.post("addBoth", "/orders/both", { payload: NewOrder, success: Written }),
    HttpApiEndpoint.post("addByWarehouse", "/orders/warehouse", { payload: NewOrder, success: Written })
  )
  .middleware(AsUser) {}

class Services extends HttpApiGroup.make("services")
  .add(
    HttpApiEndpoint.post("question", "/questions", {
      payload: Prompt,
      success: Orders,
      error: GenieMessage.MessageFailedError
    }),
    HttpApiEndpoint.post("watchQuestion", "/questions/watch", {
      payload: Prompt,
      success: ServerSentEvents.events(GenieMessage.Event)
    }),
    HttpApiEndpoint.post("chat", "/chats", { payload: Prompt, success: ServerSentEvents.events(Text) }),
    HttpApiEndpoint.post("run", "/runs", {
      payload: Schema.Struct({ key: Schema.String }),
      success: Started,
      error: JobRun.JobParametersError
    })
  )
  .middleware(AsUser) {}

class System extends HttpApiGroup.make("system").add(HttpApiEndpoint.get("total", "/total", { success: Orders })) {}

export class Api extends HttpApi.make("soak").add(User, Services, System).middleware(Failures) {}
