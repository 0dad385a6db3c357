/** How the events of a message end: its answer, its error, or its time limit. */
import { Clock, Duration, Effect, Option, Stream } from "effect"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { Failure, Genie } from "../../Genie.ts"
import { type Event, type Message, MessageFailedError } from "../../GenieMessage.ts"
import * as Operation from "../../Operation.ts"
import { withoutRecords } from "../failures/values.ts"
import { noReason } from "./wire.ts"

/** Limits a step of a stream; `state` says how far the stream had come. */
export type Limited = <A>(step: Effect.Effect<A, DatabricksError>, state: string) => Effect.Effect<A, Failure>

/** Waits for the answer to a question. */
export const answerOf =
  (ask: Genie["Service"]["ask"]): Genie["Service"]["answer"] =>
  (spaceId, question, options) =>
    Effect.flatMap(Stream.runLast(ask(spaceId, question, options)), (last) => {
      const event = Option.getOrUndefined(last)
      if (event === undefined || event._tag === "Started" || event._tag === "Progress") {
        return Effect.die(new Error("Genie.ask ended without a final event"))
      }
      return event._tag === "Completed"
        ? Effect.succeed(event.message)
        : Effect.fail(failedOf(event._tag, event.message, question))
    })

const failedOf = (tag: "Failed" | "Cancelled" | "QueryResultExpired", message: Message, question: string) => {
  const { conversationId, error, messageId, spaceId } = message
  // Error messages go into logs, which must not contain the question or rows.
  const told = withoutRecords((error?.message ?? noReason).replaceAll(question || "\0", "…").slice(0, 4_000))
  const [status, said] = (
    {
      Failed: ["FAILED", `failed: ${told}`],
      Cancelled: ["CANCELLED", "was cancelled by another client"],
      QueryResultExpired: [
        "QUERY_RESULT_EXPIRED",
        "has an answer whose rows are no longer stored: read its query with Genie.rows and rerun: true"
      ]
    } as const
  )[tag]
  return new MessageFailedError({
    spaceId,
    conversationId,
    messageId,
    status,
    type: error?.type,
    message: `The message ${messageId} of the Genie space ${spaceId} ${said}`
  })
}

/** The final event of a message, if it has ended. */
export const endOf = (message: Message): Event | undefined => {
  switch (message.status) {
    case "COMPLETED":
      return { _tag: "Completed", message }
    case "FAILED":
      return { _tag: "Failed", message, error: message.error ?? { message: noReason } }
    case "CANCELLED":
      return { _tag: "Cancelled", message }
    case "QUERY_RESULT_EXPIRED":
      return { _tag: "QueryResultExpired", message }
    default:
      return undefined
  }
}

/** Interrupts each step of a stream that would end later than its total timeout, and says how far it had come. */
export const limitedFrom =
  (name: string, begin: number) =>
  (totalTimeout: Duration.Input): Limited => {
    const limit = Duration.fromInputUnsafe(totalTimeout)
    return (step, state) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.timeoutOrElse(step, {
          duration: Math.max(begin + Duration.toMillis(limit) - now, 0),
          orElse: () =>
            Effect.fail(
              new Operation.OperationTimeoutError({
                operation: name,
                message: `${name} took longer than ${Duration.format(limit)}: ${state}`
              })
            )
        })
      )
  }
