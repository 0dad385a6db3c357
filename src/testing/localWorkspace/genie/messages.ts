/** The messages of Genie spaces: their statuses over polls, and the statements of their answers. */
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import type { Answer, Space } from "../../LocalGenie.ts"
import type { Principal } from "../identity/principals.ts"
import type { Statement } from "../sql/statements.ts"

export type Rating = "POSITIVE" | "NEGATIVE" | "NONE"

/** Runs SQL as this user. */
export type RunSql = (caller: Principal, sql: string, rowLimit: number | undefined) => Effect.Effect<Statement>

export interface Conversation {
  readonly id: string
  readonly owner: Principal
  readonly messages: Array<Message>
}

export interface Message {
  readonly id: string
  readonly question: string
  readonly answer: Answer
  /** The statement of the attachment with this id. */
  readonly statement: (attachmentId: string) => Statement | undefined
  /** Whether the rows are no longer stored. */
  readonly isExpired: () => boolean
  /** Runs the SQL again. */
  readonly rerun: Effect.Effect<Statement | undefined>
  readonly rate: (rating: Rating) => void
  readonly view: () => object
  /** Shows the next status. */
  readonly poll: () => object
}

/** Genie's ids are 32 hexadecimal digits. */
export const newId = () => `01ef${randomBytes(14).toString("hex")}`

export const ask = Effect.fnUntraced(function* (
  space: Space,
  conversation: Conversation,
  question: string,
  run: RunSql,
  now: () => number
): Effect.fn.Return<Message> {
  const id = newId()
  const created = now()
  const answer = space.answer(
    question,
    conversation.messages.map(({ answer, question }) => ({ question, answer }))
  )
  const { error, sql, statuses = ["ASKING_AI"], suggestedQuestions, text } = answer
  const end = answer.end ?? (error === undefined ? "COMPLETED" : "FAILED")
  const [textId, queryId, questionsId] = [newId(), newId(), newId()]
  const execute = sql === undefined ? Effect.undefined : run(conversation.owner, sql, answer.rowLimit)
  let statement = yield* execute
  let expired = end === "QUERY_RESULT_EXPIRED"
  let polls = 0
  let rating: Rating = "NONE"

  const status = () => {
    const coming = ["SUBMITTED", ...statuses][end === "NEVER" ? Math.min(polls, statuses.length) : polls]
    if (coming !== undefined) return coming
    if (end === "COMPLETED" || end === "QUERY_RESULT_EXPIRED") {
      const state = statement?.state() ?? "SUCCEEDED"
      if (state === "PENDING") return "PENDING_WAREHOUSE"
      if (state === "RUNNING") return "EXECUTING_QUERY"
      if (state !== "SUCCEEDED") return "FAILED"
      return expired ? end : "COMPLETED"
    }
    return end
  }
  const failed = () => error ?? { type: "SQL_EXECUTION_EXCEPTION", error: statement?.error()?.message }
  const attachments = () => [
    ...(text === undefined ? [] : [{ attachment_id: textId, text: { content: text } }]),
    ...(sql === undefined
      ? []
      : [
          {
            attachment_id: queryId,
            query: {
              query: sql,
              title: answer.title,
              description: answer.description,
              statement_id: statement?.id,
              ...(statement?.state() === "SUCCEEDED" && {
                query_result_metadata: { row_count: statement.rowCount(), is_truncated: statement.isTruncated() }
              })
            }
          }
        ]),
    ...(suggestedQuestions === undefined
      ? []
      : [{ attachment_id: questionsId, suggested_questions: { questions: suggestedQuestions } }])
  ]
  const view = () => {
    const shown = status()
    const hasAnswer = shown === "COMPLETED" || shown === "QUERY_RESULT_EXPIRED"
    return {
      id,
      message_id: id,
      conversation_id: conversation.id,
      space_id: space.spaceId,
      user_id: Number(conversation.owner.id),
      content: question,
      created_timestamp: created,
      last_updated_timestamp: now(),
      status: shown,
      ...(hasAnswer && { attachments: attachments() }),
      ...(shown === "FAILED" && { error: failed() }),
      ...(rating !== "NONE" && { feedback: { rating } })
    }
  }
  return {
    id,
    question,
    answer,
    statement: (attachmentId) => (attachmentId === queryId ? statement : undefined),
    isExpired: () => expired,
    rerun: Effect.tap(execute, (again) =>
      Effect.sync(() => {
        statement = again
        expired = false
      })
    ),
    rate: (given) => {
      rating = given
    },
    view,
    poll: () => {
      polls++
      return view()
    }
  }
})
