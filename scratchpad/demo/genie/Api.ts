import * as GenieMessage from "effect-databricks/GenieMessage"
import { AsUser } from "effect-databricks/http/AsUser"
import { events } from "effect-databricks/http/ErrorData"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

const Question = Schema.Struct({
  question: Schema.Trim.check(Schema.isMinLength(1), Schema.isMaxLength(1000)),
  /** The conversation to go on with. */
  conversationId: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "Question" })

const Events = events(GenieMessage.Event)

const Table = Schema.Struct({
  columns: Schema.Array(Schema.String),
  rows: Schema.Array(Schema.Array(Schema.NullOr(Schema.String))),
  truncated: Schema.Boolean
}).annotate({ identifier: "Table" })

const message = { conversationId: Schema.String, messageId: Schema.String }

class Genie extends HttpApiGroup.make("genie")
  .add(
    HttpApiEndpoint.post("ask", "/api/genie/questions", { payload: Question, success: Events }),
    // The events of a question whose stream was cut.
    HttpApiEndpoint.get("watch", "/api/genie/:conversationId/:messageId", { params: message, success: Events }),
    HttpApiEndpoint.get("rows", "/api/genie/:conversationId/:messageId/:attachmentId", {
      params: { ...message, attachmentId: Schema.String },
      success: Table
    })
  )
  .middleware(AsUser)
  .annotate(OpenApi.Description, "Questions of the user of the request to a Genie space, as that user.") {}

export class GenieApi extends RunsAs.checked(HttpApi.make("genie").add(Genie).middleware(Failures)) {}
