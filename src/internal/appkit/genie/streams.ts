/** The streams of a question, of a pending message and of a conversation, from their start or after an event. */
import { Effect, Stream } from "effect"
import type { Failure, Genie } from "../../../Genie.ts"
import type { Event, MessageRef } from "../../../GenieMessage.ts"
import type { HttpFailure } from "../../../http/HttpFailure.ts"
import { refusal } from "../failure.ts"
import { type Step, stepsOf } from "./answer.ts"
import { idOf, type Place, placeOf, type Sent, sent } from "./events.ts"

type Service = Genie["Service"]

type Events = Stream.Stream<Sent, Failure | HttpFailure>

/** Asks a question. */
export const ask = (genie: Service, spaceId: string, question: string, conversationId: string | undefined): Events =>
  numbered(stepped(genie, genie.ask(spaceId, question, { conversationId })), undefined)

/** Follows a message to its end. */
export const watch = (genie: Service, ref: MessageRef): Events => numbered(stepped(genie, genie.watch(ref)), ref)

/** Follows a message after one of its events. What the request says of the message has to be true of the event. */
export const watchAfter = (
  genie: Service,
  spaceId: string,
  lastEventId: string,
  { conversationId, messageId }: { readonly [K in keyof Ids]?: Ids[K] | undefined }
): Events => {
  const last = placeOf(lastEventId)
  if (
    last === undefined ||
    (conversationId ?? last.conversationId) !== last.conversationId ||
    (messageId ?? last.messageId) !== last.messageId
  ) {
    return Stream.fail(unknownEvent)
  }
  // The first status of `watch` is the present one.
  const rest = Stream.dropWhile(
    stepped(genie, genie.watch({ spaceId, ...last })),
    ({ event, order }) =>
      order < last.order || (order === last.order && (event.type !== "status" || event.status === last.status))
  )
  return numbered(rest, last)
}

/** Reads a page of a conversation: the messages oldest first, each with its rows, then `history_info`. */
export const history = (
  genie: Service,
  spaceId: string,
  conversationId: string,
  options: { readonly pageSize: number; readonly pageToken: string | undefined },
  lastEventId?: string
): Events => {
  if (lastEventId === infoId) return Stream.empty
  const last = lastEventId === undefined ? undefined : placeOf(lastEventId)
  if (lastEventId !== undefined && last === undefined) return Stream.fail(unknownEvent)
  return Stream.unwrap(
    Effect.gen(function* () {
      const page = yield* pageOf(genie, spaceId, conversationId, options)
      const messages = page.messages.toReversed()
      const first = last === undefined ? 0 : messages.findIndex(({ messageId }) => messageId === last.messageId)
      if (first === -1) return yield* refusal(409, "The conversation has changed: reload the page")
      const events = Stream.fromIterable(messages.slice(first)).pipe(
        Stream.mapEffect(
          (message) =>
            Effect.map(stepsOf(genie, message), (steps) =>
              steps
                .filter(({ order }) => message.messageId !== last?.messageId || order > last.order)
                .map((step) => sentOf(message, step))
            ),
          { concurrency: 4 }
        ),
        Stream.flatMap(Stream.fromIterable)
      )
      const info = sent(infoId, {
        type: "history_info",
        conversationId,
        spaceId,
        nextPageToken: page.nextPageToken ?? null,
        loadedCount: messages.length
      })
      // Last: a client that fails before it asks for the same page again.
      return Stream.concat(events, Stream.make(info))
    })
  )
}

const infoId = "info"

const unknownEvent = refusal(409, "This stream cannot be continued: reload the page")

/** The first page that has messages: the hook asks for older ones only if it shows some. */
const pageOf = (
  genie: Service,
  spaceId: string,
  conversationId: string,
  options: { readonly pageSize: number; readonly pageToken: string | undefined }
): ReturnType<Service["page"]> =>
  Effect.flatMap(genie.page(spaceId, conversationId, options), (page) =>
    page.messages.length === 0 && page.nextPageToken !== undefined
      ? pageOf(genie, spaceId, conversationId, { ...options, pageToken: page.nextPageToken })
      : Effect.succeed(page)
  )

const stepped = (genie: Service, events: Stream.Stream<Event, Failure>): Stream.Stream<Step, Failure> =>
  Stream.flatMap(events, (event) => {
    switch (event._tag) {
      case "Started": {
        const { conversationId, messageId, spaceId } = event
        return Stream.make({ order: 0, event: { type: "message_start", conversationId, messageId, spaceId } })
      }
      case "Progress":
        return Stream.make({ order: 1, event: { type: "status", status: event.status } })
      default:
        return Stream.unwrap(Effect.map(stepsOf(genie, event.message), Stream.fromIterable))
    }
  })

/** Gives each event its id. The message is that of `message_start`, or known from before. */
const numbered = <E>(steps: Stream.Stream<Step, E>, known: Ids | undefined): Stream.Stream<Sent, E> =>
  Stream.mapAccum(
    steps,
    () => known,
    (ids, step): readonly [Ids | undefined, ReadonlyArray<Sent>] => {
      const { event } = step
      const message = event.type === "message_start" ? event : ids
      return [message, message === undefined ? [] : [sentOf(message, step)]]
    }
  )

type Ids = Pick<Place, "conversationId" | "messageId">

const sentOf = ({ conversationId, messageId }: Ids, { event, order }: Step) => {
  const status = event.type === "status" ? event.status : undefined
  return sent(idOf({ conversationId, messageId, order, status }), event)
}
