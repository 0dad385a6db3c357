/** The Genie API as the caller of the fiber: question → message → polls → events. */
import { Clock, Duration, Effect, Option, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import type { AskOptions, Genie, Page, PageOptions } from "../../Genie.ts"
import type { Event, Message, MessageRef } from "../../GenieMessage.ts"
import type * as Operation from "../../Operation.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Owner from "../owner.ts"
import { redactorOf } from "../workspace/answer.ts"
import * as Operations from "../workspace/operations.ts"
import { path } from "../workspace/path.ts"
import { longer, pause } from "../workspace/pause.ts"
import * as Retry from "../workspace/retry.ts"
import { drained, json, patientJson, ranAs } from "../workspace/transport.ts"
import * as Events from "./events.ts"
import * as Requests from "./requests.ts"
import { reader, rowsOf } from "./rows.ts"
import { messageOf, WireFollowUp, WireMessage, WirePage, WireStart } from "./wire.ts"

type Service = Genie["Service"]

const defaultTotalTimeout = Duration.minutes(10)

const decodeStart = json(WireStart)
const decodeFollowUp = json(WireFollowUp)
const decodePoll = patientJson(WireMessage)
const decodePage = json(WirePage)

/** Makes the service. */
export const make = (service: ServiceContext["Service"], client: WorkspaceClient["Service"]): Service => {
  const operations = Operations.make(service)

  const run = <A, E>(
    name: string,
    attributes: Operation.SpanOptions["attributes"],
    options: Operation.Policy,
    work: Effect.Effect<A, E>
  ) => operations.call(name, attributes, options, asCaller(work))

  const streamed = <A, E>(
    name: string,
    attributes: Operation.SpanOptions["attributes"],
    work: (limitedBy: ReturnType<typeof Events.limitedFrom>) => Stream.Stream<A, E>
  ) =>
    operations.stream(
      name,
      attributes,
      Stream.unwrap(
        Effect.map(Effect.all([ExecutionContext.current, Clock.currentTimeMillis]), ([caller, begin]) =>
          Stream.mapError(work(Events.limitedFrom(name, begin)), ranAs(caller))
        )
      )
    )

  const send = Requests.make(client)
  const read = reader(send, { host: service.host, fetch: client.fetch })

  const poll = (ref: MessageRef) =>
    Effect.flatMap(send(HttpClientRequest.get(Requests.pathOf(ref)), ref.spaceId), (response) =>
      Effect.map(decodePoll(response), (wire) => messageOf(ref, wire, redactorOf(response)))
    )

  /** Asks once: only a question that was refused before it ran is sent again. */
  const start = (spaceId: string, content: string, { conversationId, retry }: AskOptions) => {
    const url =
      conversationId === undefined
        ? path`/api/2.0/genie/spaces/${spaceId}/start-conversation`
        : Requests.conversationPath(spaceId, conversationId)
    const once = Effect.flatMap(
      send(HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(url), { content }), spaceId),
      (response): Effect.Effect<Message, DatabricksError> => {
        const of = (conversationId: string, messageId: string, wire: typeof WireMessage.Type) =>
          messageOf(
            { spaceId, conversationId, messageId },
            { ...wire, content: wire.content ?? content },
            redactorOf(response)
          )
        return conversationId === undefined
          ? Effect.map(decodeStart(response), (_) => of(_.conversation_id, _.message_id, _.message ?? {}))
          : Effect.map(decodeFollowUp(response), (_) => of(conversationId, _.message_id, _))
      }
    )
    return Retry.ofCall(once, retry)
  }

  /** The events of a message from `first`, or from its next poll, to its end. */
  const follow = (ref: MessageRef, limited: Events.Limited, first?: Message) =>
    Stream.paginate({ message: first, told: undefined as string | undefined, delay: 0 }, ({ delay, message, told }) => {
      const next = Effect.andThen(pause(delay), Retry.polled(poll(ref)))
      const state = `the message ${ref.messageId} of the conversation ${ref.conversationId} is ${told ?? "unread"}, and Genie.watch finds it again`
      return Effect.map(message === undefined ? limited(next, state) : Effect.succeed(message), (latest) => {
        const end = Events.endOf(latest)
        if (end !== undefined) return [[end], Option.none()]
        const { status } = latest
        const events: ReadonlyArray<Event> = status === told ? [] : [{ _tag: "Progress", status }]
        return [events, Option.some({ message: undefined, told: status, delay: longer(delay) })]
      })
    })

  const page = (spaceId: string, conversationId: string, { pageSize, pageToken }: PageOptions) => {
    const urlParams = { page_size: pageSize, page_token: pageToken } // undefined ones are not sent
    const request = HttpClientRequest.get(Requests.conversationPath(spaceId, conversationId), { urlParams })
    return Effect.flatMap(send(request, spaceId), (response) =>
      Effect.map(decodePage(response), ({ messages, next_page_token }): Page => ({
        messages: (messages ?? []).map((wire) =>
          messageOf({ spaceId, conversationId, messageId: wire.message_id }, wire, redactorOf(response))
        ),
        nextPageToken: next_page_token || undefined
      }))
    )
  }

  const table: Service["table"] = (query, options = {}) =>
    run("genie.rows", attributesOf(query), { totalTimeout: options.totalTimeout }, read(query, options))

  const ask: Service["ask"] = (spaceId, question, options = {}) =>
    streamed("genie.ask", attributesOf({ spaceId, conversationId: options.conversationId }), (limitedBy) => {
      const limited = limitedBy(options.totalTimeout ?? defaultTotalTimeout)
      return Stream.unwrap(
        Effect.map(limited(start(spaceId, question, options), "Genie has not accepted the question"), (message) => {
          const { conversationId, messageId } = message
          const started: Event = { _tag: "Started", spaceId, conversationId, messageId }
          const told = Effect.annotateCurrentSpan(attributesOf(message))
          return Stream.concat(Stream.fromEffect(Effect.as(told, started)), follow(message, limited, message))
        })
      )
    })

  return {
    ask,
    answer: Events.answerOf(ask),
    watch: (ref, { totalTimeout = defaultTotalTimeout } = {}) =>
      streamed("genie.watch", attributesOf(ref), (limitedBy) => follow(ref, limitedBy(totalTimeout))),
    message: (ref, options = {}) => run("genie.message", attributesOf(ref), options, poll(ref)),
    history: (spaceId, conversationId, { pageSize, ...options } = {}) =>
      operations.list("genie.history", attributesOf({ spaceId, conversationId }), options, (pageToken) =>
        Effect.map(asCaller(page(spaceId, conversationId, { pageSize, pageToken })), (_) => [
          _.messages,
          _.nextPageToken
        ])
      ),
    page: (spaceId, conversationId, options = {}) =>
      run("genie.history", attributesOf({ spaceId, conversationId }), options, page(spaceId, conversationId, options)),
    rows: rowsOf(table),
    table,
    feedback: (ref, rating, options = {}) =>
      run(
        "genie.feedback",
        attributesOf(ref),
        options,
        Effect.flatMap(
          send(
            HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(`${Requests.pathOf(ref)}/feedback`), { rating }),
            ref.spaceId
          ),
          drained
        )
      )
  }
}

/** Returns a Genie whose calls run as this user, and die outside of that user's calls. */
export const runAs = (genie: Service, user: Caller): Service =>
  Owner.ownedBy(genie, user, {
    rows: rowsOf((...args) => Owner.runAsOwner(genie.table(...args), user))
  })

const asCaller = <A, E>(work: Effect.Effect<A, E>) =>
  Effect.flatMap(ExecutionContext.current, (caller) => Effect.mapError(work, ranAs(caller)))

const attributesOf = (ids: {
  readonly spaceId: string
  readonly conversationId?: string | undefined
  readonly messageId?: string
}) => ({
  "genie.space_id": ids.spaceId,
  "genie.conversation_id": ids.conversationId,
  "genie.message_id": ids.messageId
})
