import { AsUser } from "effect-databricks/http/AsUser"
import { events } from "effect-databricks/http/ErrorData"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, OpenApi } from "effect/http-api"

// Only these fields of a chat request: the endpoint, the instructions and the limits are the server's.
const Message = Schema.Struct({
  role: Schema.Literals(["user", "assistant"]),
  content: Schema.String.check(Schema.isMaxLength(20_000))
}).annotate({ identifier: "Message" })

const Conversation = Schema.Struct({
  messages: Schema.NonEmptyArray(Message).check(Schema.isMaxLength(100))
}).annotate({ identifier: "Conversation" })

export const Sale = Schema.Struct({
  region: Schema.NullOr(Schema.String),
  seller: Schema.NullOr(Schema.String),
  amount: Schema.NullOr(Schema.Int)
})

/** A piece of the reply, a tool call or its result, the end, or the endpoint's error for a reply that broke off. */
export const Event = Schema.Union([
  Schema.TaggedStruct("Text", { text: Schema.String }),
  Schema.TaggedStruct("Called", { name: Schema.String, arguments: Schema.String }),
  Schema.TaggedStruct("Rows", { rows: Schema.Array(Sale) }),
  Schema.TaggedStruct("Failed", { message: Schema.String }),
  Schema.TaggedStruct("Done", {}),
  Schema.TaggedStruct("Broken", { message: Schema.String })
])

class Chat extends HttpApiGroup.make("chat")
  .add(
    HttpApiEndpoint.post("reply", "/api/chat", {
      payload: Conversation,
      success: events(Event)
    })
  )
  .middleware(AsUser)
  .annotate(OpenApi.Description, "Replies of a chat model to the user of the request, as that user.") {}

export class ChatApi extends RunsAs.checked(HttpApi.make("chat").add(Chat).middleware(Failures)) {}
