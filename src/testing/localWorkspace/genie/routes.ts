/** The routes of Genie spaces. */
import { Effect, Schema } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Space } from "../../LocalGenie.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated, body } from "../http/requests.ts"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import * as Messages from "./messages.ts"

export interface Options {
  readonly directory: Directory
  readonly spaces: ReadonlyArray<Space>
  readonly run: Messages.RunSql
  readonly now: () => number
}

const Question = Schema.Struct({ content: Schema.NonEmptyString })
const Feedback = Schema.Struct({ rating: Schema.Literals(["POSITIVE", "NEGATIVE", "NONE"]) })

const defaultPageSize = 20

const parameter = (name: string) => Effect.map(HttpRouter.params, (params) => params[name] ?? "")

const json = (value: object) => HttpServerResponse.jsonUnsafe(value)

const toJson = ({ spaceId, title }: Space) => ({ space_id: spaceId, title: title ?? spaceId })

const mayUse = ({ users }: Space, { userName }: Principal) => users === undefined || users.includes(userName)

export const addTo = (router: HttpRouter.HttpRouter, { directory, now, run, spaces }: Options) =>
  Effect.gen(function* () {
    const add = adder(router)
    const conversations = new Map<string, Messages.Conversation>()

    const guarded = <E, R>(handle: (caller: Principal) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
      authenticated(directory)("genie", handle)

    const spaceOf = (caller: Principal) =>
      Effect.flatMap(parameter("space"), (id): Effect.Effect<Space, Replies.Refused> => {
        const space = spaces.find(({ spaceId }) => spaceId === id)
        if (space === undefined) return Effect.fail(Replies.spaceNotFound(id))
        return mayUse(space, caller) ? Effect.succeed(space) : Effect.fail(Replies.spaceForbidden)
      })

    // Another user's conversation is a 404: a refusal would reveal that it exists.
    const conversationOf = Effect.fnUntraced(function* (caller: Principal) {
      const space = yield* spaceOf(caller)
      const id = yield* parameter("conversation")
      const conversation = conversations.get(`${space.spaceId} ${id}`)
      if (conversation?.owner.id !== caller.id) return yield* Replies.genieNotFound("Conversation", id)
      return { space, conversation }
    })

    const messageOf = Effect.fnUntraced(function* (caller: Principal) {
      const { conversation } = yield* conversationOf(caller)
      const id = yield* parameter("message")
      const message = conversation.messages.find((_) => _.id === id)
      return message ?? (yield* Replies.genieNotFound("Message", id))
    })

    const asked = Effect.fnUntraced(function* (space: Space, conversation: Messages.Conversation, content: string) {
      const message = yield* Messages.ask(space, conversation, content, run, now)
      conversation.messages.push(message)
      return message
    })

    const start = guarded((caller) =>
      Effect.gen(function* () {
        const space = yield* spaceOf(caller)
        const { content } = yield* body(Question)
        const conversation: Messages.Conversation = { id: Messages.newId(), owner: caller, messages: [] }
        conversations.set(`${space.spaceId} ${conversation.id}`, conversation)
        const message = yield* asked(space, conversation, content)
        return json({
          conversation_id: conversation.id,
          message_id: message.id,
          conversation: {
            id: conversation.id,
            conversation_id: conversation.id,
            space_id: space.spaceId,
            title: content,
            user_id: Number(caller.id)
          },
          message: message.view()
        })
      })
    )

    const followUp = guarded((caller) =>
      Effect.gen(function* () {
        const { conversation, space } = yield* conversationOf(caller)
        const { content } = yield* body(Question)
        return json((yield* asked(space, conversation, content)).view())
      })
    )

    // Newest first. A token is the number of messages and empty pages that came before.
    const list = guarded((caller) =>
      Effect.gen(function* () {
        const { conversation, space } = yield* conversationOf(caller)
        const { url } = yield* HttpServerRequest.HttpServerRequest
        const query = new URL(url, "http://localhost").searchParams
        const size = Number(query.get("page_size") ?? defaultPageSize)
        const [offset = 0, empty = 0] = (query.get("page_token") ?? "0.0").split(".").map(Number)
        if (empty < (space.emptyPages ?? 0)) return json({ next_page_token: `${offset}.${empty + 1}` })
        const newest = conversation.messages.toReversed()
        return json({
          messages: newest.slice(offset, offset + size).map((message) => message.view()),
          ...(offset + size < newest.length && { next_page_token: `${offset + size}.0` })
        })
      })
    )

    const attached = Effect.fnUntraced(function* (caller: Principal) {
      const message = yield* messageOf(caller)
      const id = yield* parameter("attachment")
      const statement = message.statement(id)
      return statement === undefined ? yield* Replies.genieNotFound("Attachment", id) : { id, message, statement }
    })

    const result = guarded((caller) =>
      Effect.gen(function* () {
        const { id, message, statement } = yield* attached(caller)
        return message.isExpired()
          ? yield* Replies.genieNotFound("Query result of the attachment", id)
          : json({ statement_response: statement.poll() })
      })
    )

    const rerun = guarded((caller) =>
      Effect.gen(function* () {
        const { message, statement } = yield* attached(caller)
        return json({ statement_response: ((yield* message.rerun) ?? statement).view() })
      })
    )

    const feedback = guarded((caller) =>
      Effect.gen(function* () {
        const message = yield* messageOf(caller)
        message.rate((yield* body(Feedback)).rating)
        return json({})
      })
    )

    const all = guarded((caller) =>
      Effect.succeed(json({ spaces: spaces.filter((_) => mayUse(_, caller)).map(toJson) }))
    )
    const root = "/api/2.0/genie/spaces"
    const messages = `${root}/:space/conversations/:conversation/messages` as const
    yield* add("GET", root, all)
    yield* add(
      "GET",
      `${root}/:space`,
      guarded((caller) => Effect.map(spaceOf(caller), (space) => json(toJson(space))))
    )
    yield* add("POST", `${root}/:space/start-conversation`, start)
    yield* add("POST", messages, followUp)
    yield* add("GET", messages, list)
    yield* add(
      "GET",
      `${messages}/:message`,
      guarded((caller) => Effect.map(messageOf(caller), (message) => json(message.poll())))
    )
    yield* add("POST", `${messages}/:message/feedback`, feedback)
    yield* add("GET", `${messages}/:message/attachments/:attachment/query-result`, result)
    yield* add("POST", `${messages}/:message/attachments/:attachment/execute-query`, rerun)
  })
