/** The routes of Genie: alias → space, question → stream. */
import { Effect, Layer, Schema, type Stream } from "effect"
import { HttpRouter } from "effect/http"
import type { Options } from "../../../appkit/Genie.ts"
import { Genie, user } from "../../../Genie.ts"
import { orBadRequest } from "../../../http/HttpFailure.ts"
import { ResumableStreams } from "../../../http/ResumableStreams.ts"
import * as Bounds from "../../bounds.ts"
import { respond } from "../events.ts"
import { refusal } from "../failure.ts"
import * as Routes from "../routes.ts"
import type { Sent } from "./events.ts"
import * as Streams from "./streams.ts"

export const layer = ({ pageSize = 20, spaces }: Options) => {
  const spaceOf = ({ alias }: { readonly alias: string }) =>
    Object.hasOwn(spaces, alias) && spaces[alias] !== undefined
      ? Effect.succeed(spaces[alias])
      : Effect.fail(refusal(404, `Unknown space alias: ${alias}`, "UnknownAlias"))

  const ask = Effect.gen(function* () {
    const request = yield* orBadRequest(HttpRouter.schemaParams(Asked))
    const spaceId = yield* spaceOf(request)
    const { content, conversationId } = yield* question
    const genie = yield* user
    return yield* stream(Streams.ask(genie, spaceId, content, conversationId), request.requestId, (id) =>
      Streams.watchAfter(genie, spaceId, id, { conversationId })
    )
  })

  const history = Effect.gen(function* () {
    const { cid, pageToken, ...request } = yield* orBadRequest(HttpRouter.schemaParams(Paged))
    const spaceId = yield* spaceOf(request)
    const genie = yield* user
    const page = (lastEventId?: string) => Streams.history(genie, spaceId, cid, { pageSize, pageToken }, lastEventId)
    return yield* stream(page(), request.requestId, page)
  })

  const watch = Effect.gen(function* () {
    const { cid, mid, ...request } = yield* orBadRequest(HttpRouter.schemaParams(Watched))
    const spaceId = yield* spaceOf(request)
    const genie = yield* user
    const message = { conversationId: cid, messageId: mid }
    return yield* stream(Streams.watch(genie, { spaceId, ...message }), request.requestId, (id) =>
      Streams.watchAfter(genie, spaceId, id, message)
    )
  })

  return Layer.unwrap(
    Effect.as(
      Bounds.check("AppKit.genie", { pageSize }, { pageSize: Bounds.integer(1) }),
      Routes.layer(
        "genie",
        [Genie, ResumableStreams],
        [
          Routes.asUser("POST", "/:alias/messages", ask),
          Routes.asUser("GET", "/:alias/conversations/:cid", history),
          Routes.asUser("GET", "/:alias/conversations/:cid/messages/:mid", watch)
        ]
      )
    )
  )
}

const Asked = Schema.Struct({
  alias: Schema.String,
  requestId: Schema.optional(Schema.NonEmptyString.check(Schema.isMaxLength(200)))
})
const Paged = Schema.Struct({ ...Asked.fields, cid: Schema.String, pageToken: Schema.optional(Schema.String) })
const Watched = Schema.Struct({ ...Asked.fields, cid: Schema.String, mid: Schema.String })

/** The most characters of a question. */
const maxLength = 10_000

const Question = Schema.Struct({
  content: Schema.optional(Schema.Unknown),
  conversationId: Schema.optional(Schema.NonEmptyString)
})

const question = Effect.gen(function* () {
  const { content, conversationId } = yield* Routes.body(Question)
  const text = typeof content === "string" ? content.trim() : ""
  if (text === "") return yield* refusal(400, "content is required")
  if (text.length > maxLength) return yield* refusal(400, `content is longer than ${maxLength} characters`)
  return { content: text, conversationId }
})

const stream = <E, R>(
  events: Stream.Stream<Sent, E, R>,
  requestId: string | undefined,
  after: (lastEventId: string) => Stream.Stream<Sent, unknown, R>
) =>
  respond("genie", events, {
    id: ({ id }) => id,
    event: ({ event }) => event.type,
    resume: { requestId, after }
  })
