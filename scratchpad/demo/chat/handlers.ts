import { ServerSentEvents } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { Effect, Layer, Stream } from "effect"
import { Chat } from "effect/ai"
import { HttpApiBuilder } from "effect/http-api"
import { ChatApi, Event } from "./Api.ts"
import * as Tools from "./tools.ts"

const system = { role: "system", content: "You answer questions about the user's sales, which a tool reads." } as const

/** Streams a reply. If the model has called tools, it gets their results with a further request. */
const reply = (chat: Chat.Chat, toolkit: Tools.Handled, requests = 5) =>
  Stream.suspend(() => {
    let called = false
    const step = Stream.tap(chat.streamText({ prompt: [], toolkit }), ({ type }) =>
      Effect.sync(() => (called ||= type === "tool-result"))
    )
    const next: typeof step = Stream.suspend(() =>
      called && requests > 1 ? reply(chat, toolkit, requests - 1) : Stream.empty
    )
    return Stream.concat(step, next)
  })

const eventsOf = (part: Stream.Success<ReturnType<typeof reply>>): ReadonlyArray<typeof Event.Type> => {
  switch (part.type) {
    case "text-delta":
      return [{ _tag: "Text", text: part.delta }]
    case "tool-call":
      return [{ _tag: "Called", name: part.name, arguments: JSON.stringify(part.params) }]
    case "tool-result":
      if (!part.isFailure) return [{ _tag: "Rows", rows: part.result }]
      return [{ _tag: "Failed", message: "message" in part.result ? part.result.message : part.result.reason }]
    default:
      return []
  }
}

/** A client that leaves, by the button Stop too, aborts the request to the model and the query of a tool. */
export const ChatLive = (name: string) => {
  const limits = { timeout: "1 minute", idleTimeout: "30 seconds" } as const
  const model = DatabricksLanguageModel.user(name, { max_tokens: 1000 }, limits)
  return HttpApiBuilder.group(ChatApi, "chat", (handlers) =>
    Effect.map(Tools.toolkit, (toolkit) =>
      handlers.handle("reply", ({ payload: { messages } }) =>
        Stream.unwrap(Effect.map(Chat.fromPrompt([system, ...messages]), (chat) => reply(chat, toolkit))).pipe(
          Stream.map(eventsOf),
          Stream.flattenIterable,
          // A reply that is cut on its way to the page has no such end.
          Stream.concat(Stream.succeed<typeof Event.Type>({ _tag: "Done" })),
          // As a failure it would be a 502, whose message is masked in production.
          Stream.catchTag("AiError", (error) => {
            const cause = DatabricksLanguageModel.causeOf(error)
            return cause?._tag === "ModelStreamError"
              ? Stream.succeed<typeof Event.Type>({ _tag: "Broken", message: cause.message })
              : Stream.fail(error)
          }),
          Stream.provide(model),
          ServerSentEvents.toResponse({ schema: Event })
        )
      )
    )
  ).pipe(Layer.provide(Tools.layer))
}
