/**
 * The messages of a Genie space, and the events of a question. Browser-safe: an Api that a page imports can use these
 * Schemas.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

const ids = {
  spaceId: Schema.String,
  conversationId: Schema.String,
  messageId: Schema.String
}

/**
 * The ids of a message, which find it again: in a later request, on another replica, after a cut. A `Message`, a
 * `Started` and a `MessageFailedError` are such ids.
 *
 * @since 0.1.0
 * @category models
 */
export const MessageRef = Schema.Struct(ids)

/**
 * The type of `MessageRef`.
 *
 * @since 0.1.0
 * @category models
 */
export type MessageRef = typeof MessageRef.Type

/**
 * The SQL that Genie wrote for an answer, with the ids that find its result.
 *
 * @since 0.1.0
 * @category models
 */
export const Query = Schema.Struct({
  ...ids,
  attachmentId: Schema.String,
  sql: Schema.optional(Schema.String),
  title: Schema.optional(Schema.String),
  /** Genie's words for what the SQL computes. */
  description: Schema.optional(Schema.String),
  /** The statement's id at the warehouse. */
  statementId: Schema.optional(Schema.String),
  rowCount: Schema.optional(Schema.Int),
  /** Whether Genie kept a part of the rows only. */
  truncated: Schema.optional(Schema.Boolean)
})

/**
 * The type of `Query`.
 *
 * @since 0.1.0
 * @category models
 */
export type Query = typeof Query.Type

/**
 * A part of an answer: a text, a query or suggested questions.
 *
 * @since 0.1.0
 * @category models
 */
export const Attachment = Schema.Struct({
  attachmentId: Schema.String,
  /** Markdown. */
  text: Schema.optional(Schema.String),
  query: Schema.optional(Query),
  suggestedQuestions: Schema.optional(Schema.Array(Schema.String))
})

/**
 * The type of `Attachment`.
 *
 * @since 0.1.0
 * @category models
 */
export type Attachment = typeof Attachment.Type

/**
 * The error of a message, in Genie's own words.
 *
 * @since 0.1.0
 * @category models
 */
export const MessageError = Schema.Struct({
  /** Genie's code, such as `SQL_EXECUTION_EXCEPTION`. */
  type: Schema.optional(Schema.String),
  message: Schema.String
})

/**
 * The type of `MessageError`.
 *
 * @since 0.1.0
 * @category models
 */
export type MessageError = typeof MessageError.Type

/**
 * A person's verdict on an answer. `NONE` withdraws an earlier one.
 *
 * @since 0.1.0
 * @category models
 */
export const Rating = Schema.Literals(["POSITIVE", "NEGATIVE", "NONE"])

/**
 * The type of `Rating`.
 *
 * @since 0.1.0
 * @category models
 */
export type Rating = typeof Rating.Type

/**
 * A question and its answer, as far as Genie has one.
 *
 * @since 0.1.0
 * @category models
 */
export const Message = Schema.Struct({
  ...ids,
  /** The question. */
  content: Schema.String,
  /**
   * `COMPLETED`, `FAILED`, `CANCELLED` and `QUERY_RESULT_EXPIRED` are final. Any other status is text, because Genie
   * adds new ones: `SUBMITTED`, `ASKING_AI`, `PENDING_WAREHOUSE`, `EXECUTING_QUERY`, …
   */
  status: Schema.String,
  createdAt: Schema.optional(Schema.DateTimeUtc),
  attachments: Schema.Array(Attachment),
  /** The error of a message whose status is `FAILED`. */
  error: Schema.optional(MessageError),
  rating: Schema.optional(Schema.String)
})

/**
 * The type of `Message`.
 *
 * @since 0.1.0
 * @category models
 */
export type Message = typeof Message.Type

/**
 * Genie has accepted the question. Keep the ids to go on with the message after a cut.
 *
 * @since 0.1.0
 * @category events
 */
export const Started = Schema.TaggedStruct("Started", ids)

/**
 * The message has a new status, which is not final.
 *
 * @since 0.1.0
 * @category events
 */
export const Progress = Schema.TaggedStruct("Progress", { status: Schema.String })

/**
 * The answer is complete.
 *
 * @since 0.1.0
 * @category events
 */
export const Completed = Schema.TaggedStruct("Completed", { message: Message })

/**
 * Genie has no answer, for the reason in `error`.
 *
 * @since 0.1.0
 * @category events
 */
export const Failed = Schema.TaggedStruct("Failed", { message: Message, error: MessageError })

/**
 * Another client cancelled the message.
 *
 * @since 0.1.0
 * @category events
 */
export const Cancelled = Schema.TaggedStruct("Cancelled", { message: Message })

/**
 * The answer is complete, and the rows of its query are no longer stored. The option `rerun` of `Genie.rows` runs the
 * query again.
 *
 * @since 0.1.0
 * @category events
 */
export const QueryResultExpired = Schema.TaggedStruct("QueryResultExpired", { message: Message })

/**
 * The events of a question, in order: `Started` (of `Genie.ask` only), any number of `Progress`, and one of the others.
 *
 * @since 0.1.0
 * @category events
 */
export const Event = Schema.Union([Started, Progress, Completed, Failed, Cancelled, QueryResultExpired])

/**
 * The type of `Event`.
 *
 * @since 0.1.0
 * @category events
 */
export type Event = typeof Event.Type

/**
 * A message ended without an answer (502). Retryable if Genie's own code says that it was busy or slow.
 *
 * @since 0.1.0
 * @category errors
 */
export class MessageFailedError extends Schema.TaggedError<MessageFailedError>(
  "effect-databricks/GenieMessage/MessageFailedError"
)(
  "MessageFailedError",
  {
    ...ids,
    /** Names the message and gives Genie's own error. */
    message: Schema.String,
    status: Schema.Literals(["FAILED", "CANCELLED", "QUERY_RESULT_EXPIRED"]),
    /** Genie's code, such as `SQL_EXECUTION_EXCEPTION`. */
    type: Schema.optional(Schema.String)
  },
  { httpApiStatus: 502 }
) {
  get isRetryable(): boolean {
    return /RATE_LIMIT|TIMEOUT|NETWORK|RETRYABLE/.test(this.type ?? "")
  }
}

/**
 * Returns the text of an answer, its parts separated by an empty line; `""` if it has none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const textOf = ({ attachments }: Pick<Message, "attachments">): string =>
  attachments.flatMap(({ text }) => text ?? []).join("\n\n")

/**
 * Returns the queries of an answer.
 *
 * @since 0.1.0
 * @category accessors
 */
export const queriesOf = ({ attachments }: Pick<Message, "attachments">): ReadonlyArray<Query> =>
  attachments.flatMap(({ query }) => query ?? [])

/**
 * Returns the questions that Genie suggests next.
 *
 * @since 0.1.0
 * @category accessors
 */
export const suggestedQuestionsOf = ({ attachments }: Pick<Message, "attachments">): ReadonlyArray<string> =>
  attachments.flatMap(({ suggestedQuestions }) => suggestedQuestions ?? [])
