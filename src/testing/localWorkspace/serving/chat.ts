/** A chat model that says what a script has, in the format of OpenAI's chat completions. */
import { Effect, Stream } from "effect"
import { createHash, randomUUID } from "node:crypto"
import type * as ChatCompletion from "../../../ChatCompletion.ts"
import type { Turn } from "../../LocalServing.ts"
import type { Answer } from "./answers.ts"

export const tokensOf = (text: string): number => Math.ceil(text.length / 4)

const piecesOf = (text: string, length: number): ReadonlyArray<string> => {
  const characters = Array.from(text)
  return Array.from({ length: Math.ceil(characters.length / length) }, (_, index) =>
    characters.slice(index * length, (index + 1) * length).join("")
  )
}

const reasoningOf = (text: string, signature?: string) => ({
  type: "reasoning",
  summary: [{ type: "summary_text", text, ...(signature !== undefined && { signature }) }]
})

/** Says which message a model would refuse, and why: each call of a tool has one result, right after it. */
export const faultOf = ({ messages }: ChatCompletion.Request): string | undefined => {
  if (messages.length === 0) return "messages: at least one message is required"
  let open: ReadonlyArray<string> = []
  for (const [index, { content, role, tool_call_id, tool_calls }] of [...messages, end].entries()) {
    if (role === "tool") {
      if (!open.includes(tool_call_id ?? "")) return `messages.${index}: no tool call has the id "${tool_call_id}"`
      open = open.filter((id) => id !== tool_call_id)
      continue
    }
    if (open.length > 0) return `messages.${index}: the tool calls ${open.join(", ")} have no result`
    open = (tool_calls ?? []).map(({ id }) => id)
    if (role === "assistant" && open.length === 0 && (content ?? "").length === 0) {
      return `messages.${index}: the message is empty`
    }
  }
  return undefined
}

const end = { role: "user" as const, content: "", tool_call_id: undefined, tool_calls: undefined }

/** Returns the response to a request, whole or as the events of a stream. */
export const answer = (turn: Turn, request: ChatCompletion.Request, streamed: boolean): Answer => {
  const { breaks, delay, pieceLength = 8, reasoning, signature, text } = turn
  const calls = (turn.toolCalls ?? []).map(({ arguments: given = {}, id, name }) => ({
    id: id ?? `call_${randomUUID()}`,
    type: "function" as const,
    function: { name, arguments: typeof given === "string" ? given : JSON.stringify(given) }
  }))
  const finish_reason = turn.finishReason ?? (calls.length > 0 ? "tool_calls" : "stop")
  const prompt_tokens = tokensOf(JSON.stringify(request.messages))
  const completion_tokens = tokensOf(`${reasoning ?? ""}${text ?? ""}${calls.map((_) => JSON.stringify(_)).join("")}`)
  const usage = turn.usage ?? { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
  const common = { id: `chatcmpl_${randomUUID()}`, created: 1_767_225_600, model: "local" }

  if (!streamed) {
    const content =
      reasoning === undefined ? (text ?? null) : [reasoningOf(reasoning, signature), { type: "text", text: text ?? "" }]
    const message = { role: "assistant", content, ...(calls.length > 0 && { tool_calls: calls }) }
    const choices = [{ index: 0, message, finish_reason }]
    return { _tag: "Json", body: { ...common, object: "chat.completion", choices, usage }, breaks }
  }

  const chunk = (delta: object, finish_reason: string | null = null) => ({
    ...common,
    object: "chat.completion.chunk",
    choices: [{ index: 0, delta, finish_reason }]
  })
  const chunks = [
    ...piecesOf(reasoning ?? "", pieceLength).map((piece) =>
      chunk({ role: "assistant", content: [reasoningOf(piece)] })
    ),
    ...(signature === undefined ? [] : [chunk({ content: [reasoningOf("", signature)] })]),
    ...piecesOf(text ?? "", pieceLength).map((content) => chunk({ role: "assistant", content })),
    ...calls.flatMap(({ function: { arguments: written, name }, id, type }, index) => [
      chunk({ tool_calls: [{ index, id, type, function: { name, arguments: "" } }] }),
      ...piecesOf(written, pieceLength).map((piece) =>
        chunk({ tool_calls: [{ index, function: { arguments: piece } }] })
      )
    ]),
    chunk({}, finish_reason),
    { ...common, object: "chat.completion.chunk", choices: [], usage }
  ]
  const events = Stream.map(Stream.fromIterable(chunks), (_) => JSON.stringify(_))
  return {
    _tag: "Events",
    events:
      delay === undefined ? events : Stream.mapEffect(events, (event) => Effect.delay(Effect.succeed(event), delay)),
    breaks
  }
}

/** Returns a vector of 8 numbers and the length 1 that depends on the text only. */
export const vectorOf = (text: string): ReadonlyArray<number> => {
  const numbers = Array.from(createHash("sha256").update(text).digest().subarray(0, 8), (byte) => byte - 127.5)
  const length = Math.hypot(...numbers)
  return numbers.map((number) => number / length)
}
