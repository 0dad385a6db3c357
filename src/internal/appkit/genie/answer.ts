/** A message of Genie as a front end shows it: its result, then the rows of its queries. */
import { Cause, Effect } from "effect"
import type { Failure, Genie } from "../../../Genie.ts"
import { type Message, type Query, queriesOf, textOf } from "../../../GenieMessage.ts"
import type { Table } from "../../../SqlWarehouse.ts"
import { report } from "../failure.ts"
import type * as Events from "./events.ts"

/** An event of an answer, and its place. */
export interface Step {
  readonly order: number
  readonly event: Events.Event
}

/**
 * Returns the result of a message and the rows of its queries.
 *
 * The rows are read first, so that the result can say which of them are missing. An `error` event would set the whole
 * chat to `error`, and the hook has no other event for a single attachment.
 */
export const stepsOf = Effect.fnUntraced(function* (genie: Genie["Service"], message: Message) {
  const queries = message.status === "COMPLETED" ? queriesOf(message) : []
  const parts = yield* Effect.forEach(queries, (query) => partOf(genie, query), { concurrency: 4 })
  const error = [errorOf(message), ...parts.map((_) => _.error)].filter((_) => _ !== undefined).join(" ")
  if (message.status === "FAILED") {
    yield* Effect.logWarning(`The Genie message ${message.messageId} failed: ${message.error?.type ?? "no code"}`)
  }
  const result: Step = {
    order: 2,
    event: {
      type: "message_result",
      message: {
        messageId: message.messageId,
        conversationId: message.conversationId,
        spaceId: message.spaceId,
        status: isUnanswered(message) ? "FAILED" : message.status,
        content: message.content,
        attachments: [
          ...message.attachments.map(attachmentOf),
          ...textsFor(message),
          ...parts.flatMap(({ note }) => (note === undefined ? [] : text(note)))
        ],
        error: error || undefined
      }
    }
  }
  const rows = parts.flatMap(({ event }, index): ReadonlyArray<Step> => (event ? [{ order: 3 + index, event }] : []))
  return [result, ...rows]
})

interface Part {
  readonly event?: Events.QueryResult
  readonly note?: string | undefined
  readonly error?: string
}

const partOf = (genie: Genie["Service"], query: Query): Effect.Effect<Part> =>
  genie.table(query, { totalTimeout: "1 minute" }).pipe(
    Effect.map((table) => resultOf(query, table)),
    Effect.catch((failure) => {
      const because = isGone(failure)
        ? Effect.succeed(expired)
        : Effect.map(report("genie", Cause.fail(failure)), ({ body }) => `${body.error}.`)
      return Effect.map(because, (reason) => ({ error: `${nameOf(query)} cannot be shown. ${reason}` }))
    })
  )

const resultOf = (query: Query, { columns, rows, statementId, truncated }: Table): Part => {
  const shown = fitting(rows)
  const isCut = truncated || shown.length < rows.length
  return {
    event: {
      type: "query_result",
      attachmentId: query.attachmentId,
      statementId,
      data: {
        manifest: { schema: { columns: columns.map(({ name, type_name }) => ({ name, type_name })) } },
        result: { data_array: shown },
        truncated: isCut || undefined
      }
    },
    note: isCut ? `${nameOf(query)} has only its first ${shown.length.toLocaleString("en-US")} rows.` : undefined
  }
}

/** The most bytes of the rows of one event, whose limit is 4 MiB: `connectSSE` refuses 5 MiB. */
const maxRowBytes = 3 * 2 ** 20

const fitting = (rows: Table["rows"]): Table["rows"] => {
  let size = 0
  const end = rows.findIndex((row) => (size += Buffer.byteLength(JSON.stringify(row)) + 1) > maxRowBytes)
  return end === -1 ? rows : rows.slice(0, end)
}

const isGone = (failure: Failure) =>
  failure._tag === "DatabricksError" &&
  (failure.reason._tag === "NotFoundError" || failure.reason._tag === "StatementGoneError")

const nameOf = ({ title }: Query) => (title === undefined ? "The result" : `The result “${title}”`)

// The hook ends on COMPLETED and FAILED only.
const isUnanswered = ({ status }: Message) =>
  status === "FAILED" || status === "CANCELLED" || status === "QUERY_RESULT_EXPIRED"

const expired = "Its rows are no longer stored: ask the question again."

const errorOf = ({ error, status }: Message): string | undefined => {
  switch (status) {
    case "FAILED":
      return error === undefined || isTechnical(error)
        ? "Genie could not answer this question: ask it in another way."
        : error.message.slice(0, 1_000)
    case "CANCELLED":
      return "The question was cancelled."
    case "QUERY_RESULT_EXPIRED":
      return expired
    default:
      return undefined
  }
}

// Genie writes its errors for the people of the space, but these quote a statement, a function or a service of its own.
const isTechnical = ({ message, type }: NonNullable<Message["error"]>) =>
  message === type || /SQL|FUNCTION|CHAT_COMPLETION|UNEXPECTED/.test(type ?? "")

const text = (content: string): Events.Attachment => ({ text: { content } })

/** Without a text the hook shows the question as the answer, and without an attachment it leaves the error out. */
const textsFor = (message: Message): ReadonlyArray<Events.Attachment> => {
  if (textOf(message) !== "" || !(isUnanswered(message) || message.status === "COMPLETED")) return []
  const told = queriesOf(message).flatMap(({ description, title }) => description ?? title ?? [])
  return [text(told.join("\n\n") || (message.status === "COMPLETED" ? "Genie gave no text." : "Genie gave no answer."))]
}

const attachmentOf = ({ attachmentId, query, suggestedQuestions, text: content }: Message["attachments"][number]) => ({
  attachmentId,
  text: content === undefined ? undefined : { content },
  query: query && {
    title: query.title,
    description: query.description,
    query: query.sql,
    statementId: query.statementId
  },
  suggestedQuestions
})
