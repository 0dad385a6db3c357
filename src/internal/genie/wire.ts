/** The responses of the Genie API, and the messages made of them. */
import { Schema } from "effect"
import type { Attachment, Message, MessageRef } from "../../GenieMessage.ts"
import { Answer } from "../sqlWarehouse/wire.ts"
import { absent } from "../workspace/absent.ts"
import type { Redact } from "../workspace/answer.ts"

const text = absent(Schema.String)

const WireAttachment = Schema.Struct({
  attachment_id: text,
  text: absent(Schema.Struct({ id: text, content: text })),
  query: absent(
    Schema.Struct({
      id: text,
      query: text,
      title: text,
      description: text,
      statement_id: text,
      query_result_metadata: absent(
        Schema.Struct({ row_count: absent(Schema.Int), is_truncated: absent(Schema.Boolean) })
      )
    })
  ),
  suggested_questions: absent(Schema.Struct({ questions: absent(Schema.Array(Schema.String)) }))
})

/** A message of a poll, whose ids are known. */
export const WireMessage = Schema.Struct({
  content: text,
  status: text,
  created_timestamp: absent(Schema.DateTimeUtcFromMillis),
  attachments: absent(Schema.Array(WireAttachment)),
  error: absent(Schema.Struct({ type: text, error: text })),
  feedback: absent(Schema.Struct({ rating: text }))
})

type WireMessage = typeof WireMessage.Type

/** The response to a new conversation. */
export const WireStart = Schema.Struct({
  conversation_id: Schema.NonEmptyString,
  message_id: Schema.NonEmptyString,
  message: absent(WireMessage)
})

/** The response to a follow-up, or a message in a page. */
export const WireFollowUp = Schema.Struct({ ...WireMessage.fields, message_id: Schema.NonEmptyString })

export const WirePage = Schema.Struct({ messages: absent(Schema.Array(WireFollowUp)), next_page_token: text })

export const WireResult = Schema.Struct({ statement_response: Answer })

/** The message of a response, without the credential that an error may quote. */
export const messageOf = (
  { conversationId, messageId, spaceId }: MessageRef,
  wire: WireMessage,
  redact: Redact
): Message => {
  const ref = { spaceId, conversationId, messageId }
  const { attachments, content, created_timestamp, error, feedback, status } = wire
  return {
    ...ref,
    content: content ?? "",
    status: status ?? "SUBMITTED",
    createdAt: created_timestamp ?? undefined,
    attachments: (attachments ?? []).map((_) => attachmentOf(ref, _)),
    error: error
      ? {
          type: error.type ?? undefined,
          message: redact(error.error ?? error.type ?? noReason)
        }
      : undefined,
    rating: feedback?.rating ?? undefined
  }
}

export const noReason = "Genie gave no reason"

const attachmentOf = (
  ref: MessageRef,
  { attachment_id, query, suggested_questions, text }: typeof WireAttachment.Type
): Attachment => {
  const attachmentId = attachment_id ?? query?.id ?? text?.id ?? ""
  return {
    attachmentId,
    text: text?.content ?? undefined,
    query: query
      ? {
          ...ref,
          attachmentId,
          sql: query.query ?? undefined,
          title: query.title ?? undefined,
          description: query.description ?? undefined,
          statementId: query.statement_id ?? undefined,
          rowCount: query.query_result_metadata?.row_count ?? undefined,
          truncated: query.query_result_metadata?.is_truncated ?? undefined
        }
      : undefined,
    suggestedQuestions: suggested_questions?.questions ?? undefined
  }
}
