/**
 * The Schemas of a chat with a model: the request, the response, and the chunks of a streamed response, in the format of
 * OpenAI's chat completions, which every chat endpoint of Databricks has.
 *
 * Fields that these models lack are left out of a response, and are kept in a request, which is sent unchanged.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * A part of a message's content: text, an image, or a summary of the model's reasoning. Other types have their `type`
 * only.
 *
 * @since 0.1.0
 * @category models
 */
export const Part = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Schema.String }),
  Schema.Struct({
    type: Schema.Literal("image_url"),
    image_url: Schema.Struct({ url: Schema.String, detail: Schema.optional(Schema.String) })
  }),
  Schema.Struct({
    type: Schema.Literal("reasoning"),
    summary: Schema.Array(
      Schema.Struct({
        type: Schema.String,
        text: Schema.optional(Schema.NullOr(Schema.String)),
        signature: Schema.optional(Schema.NullOr(Schema.String)),
        /** The reasoning in place of `text`, if the model encrypts it. */
        data: Schema.optional(Schema.NullOr(Schema.String))
      })
    )
  }),
  Schema.Struct({ type: Schema.String })
])

/**
 * The content of a message.
 *
 * @since 0.1.0
 * @category models
 */
export const Content = Schema.Union([Schema.String, Schema.Array(Part)])

// Gemini refuses the next request without it.
const thoughtSignature = Schema.optional(Schema.NullOr(Schema.String))

/**
 * The model's call of a tool. The arguments are JSON as text, as the model wrote it.
 *
 * @since 0.1.0
 * @category models
 */
export const ToolCall = Schema.Struct({
  id: Schema.String,
  type: Schema.Literal("function"),
  function: Schema.Struct({ name: Schema.String, arguments: Schema.String }),
  thoughtSignature
})

/**
 * A message of a request. A message with the role `tool` is the result of the call `tool_call_id`.
 *
 * @since 0.1.0
 * @category models
 */
export const Message = Schema.Struct({
  role: Schema.Literals(["system", "developer", "user", "assistant", "tool"]),
  content: Schema.optional(Schema.NullOr(Content)),
  name: Schema.optional(Schema.String),
  tool_calls: Schema.optional(Schema.Array(ToolCall)),
  tool_call_id: Schema.optional(Schema.String)
})

/**
 * A tool that the model may call; `parameters` is a JSON Schema.
 *
 * @since 0.1.0
 * @category models
 */
export const Tool = Schema.Struct({
  type: Schema.Literal("function"),
  function: Schema.Struct({
    name: Schema.String,
    description: Schema.optional(Schema.String),
    parameters: Schema.optional(Schema.Record(Schema.String, Schema.Json)),
    strict: Schema.optional(Schema.Boolean)
  })
})

/**
 * A request to a chat endpoint. An endpoint may take further fields.
 *
 * @since 0.1.0
 * @category models
 */
export const Request = Schema.Struct({
  messages: Schema.Array(Message),
  max_tokens: Schema.optional(Schema.Int),
  temperature: Schema.optional(Schema.Number),
  top_p: Schema.optional(Schema.Number),
  top_k: Schema.optional(Schema.Int),
  n: Schema.optional(Schema.Int),
  stop: Schema.optional(Schema.Union([Schema.String, Schema.Array(Schema.String)])),
  tools: Schema.optional(Schema.Array(Tool)),
  tool_choice: Schema.optional(Schema.Union([Schema.String, Schema.Record(Schema.String, Schema.Json)])),
  response_format: Schema.optional(Schema.Record(Schema.String, Schema.Json))
})

/**
 * A request to a chat endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export type Request = typeof Request.Type

const Tokens = Schema.optional(Schema.NullOr(Schema.Int))

/**
 * The numbers of tokens that a call took. Claude's models count the cache's tokens in fields of their own.
 *
 * @since 0.1.0
 * @category models
 */
export const Usage = Schema.Struct({
  prompt_tokens: Tokens,
  completion_tokens: Tokens,
  total_tokens: Tokens,
  reasoning_tokens: Tokens,
  cache_read_input_tokens: Tokens,
  cache_creation_input_tokens: Tokens,
  prompt_tokens_details: Schema.optional(Schema.NullOr(Schema.Struct({ cached_tokens: Tokens }))),
  completion_tokens_details: Schema.optional(Schema.NullOr(Schema.Struct({ reasoning_tokens: Tokens })))
})

// `stop`, `length`, `tool_calls` and `content_filter` are known; an endpoint may have others.
const FinishReason = Schema.NullOr(Schema.String)

// Of a message, and of the part that a chunk adds to one.
const Said = {
  role: Schema.optional(Schema.NullOr(Schema.String)),
  content: Schema.optional(Schema.NullOr(Content)),
  reasoning_content: Schema.optional(Schema.NullOr(Schema.String)),
  refusal: Schema.optional(Schema.NullOr(Schema.String))
}

const Answered = {
  id: Schema.optional(Schema.NullOr(Schema.String)),
  model: Schema.optional(Schema.NullOr(Schema.String)),
  created: Schema.optional(Schema.NullOr(Schema.Int)),
  usage: Schema.optional(Schema.NullOr(Usage))
}

/**
 * The response of a chat endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export const Completion = Schema.Struct({
  ...Answered,
  choices: Schema.Array(
    Schema.Struct({
      index: Schema.Int,
      message: Schema.Struct({
        ...Said,
        tool_calls: Schema.optional(Schema.NullOr(Schema.Array(ToolCall)))
      }),
      finish_reason: Schema.optional(FinishReason)
    })
  )
})

/**
 * The response of a chat endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export type Completion = typeof Completion.Type

/**
 * A piece of a tool call. Pieces with the same `index` belong together; the first one has the id and the name, and the
 * others continue the text of the arguments.
 *
 * @since 0.1.0
 * @category models
 */
export const ToolCallDelta = Schema.Struct({
  index: Schema.optional(Schema.NullOr(Schema.Int)),
  id: Schema.optional(Schema.NullOr(Schema.String)),
  type: Schema.optional(Schema.NullOr(Schema.String)),
  function: Schema.optional(
    Schema.Struct({
      name: Schema.optional(Schema.NullOr(Schema.String)),
      arguments: Schema.optional(Schema.NullOr(Schema.String))
    })
  ),
  thoughtSignature
})

/**
 * One chunk of a streamed response. The last ones may have no choices, only `usage`.
 *
 * @since 0.1.0
 * @category models
 */
export const Chunk = Schema.Struct({
  ...Answered,
  choices: Schema.Array(
    Schema.Struct({
      index: Schema.Int,
      delta: Schema.Struct({
        ...Said,
        tool_calls: Schema.optional(Schema.NullOr(Schema.Array(ToolCallDelta)))
      }),
      finish_reason: Schema.optional(FinishReason)
    })
  )
})

/**
 * One chunk of a streamed response.
 *
 * @since 0.1.0
 * @category models
 */
export type Chunk = typeof Chunk.Type

/**
 * Returns the text that a message or a chunk's delta adds: its content, or the text parts of it.
 *
 * @since 0.1.0
 * @category conversions
 */
export const textOf = ({ content }: { readonly content?: typeof Content.Type | null | undefined }): string =>
  typeof content === "string"
    ? content
    : (content ?? []).map((part) => (part.type === "text" && "text" in part ? part.text : "")).join("")
