/** The messages of a request. A part that an endpoint cannot take fails: a model must not answer half a prompt. */
import { Effect, Predicate } from "effect"
import * as AiError from "effect/ai/AiError"
import type * as Prompt from "effect/ai/Prompt"
import * as Base64 from "effect/encoding/Base64"
import * as ExactJson from "../workspace/exactJson.ts"

interface Part {
  readonly type: string
  readonly [field: string]: unknown
}

/** Returns the messages of a prompt. */
export const of = Effect.fnUntraced(function* (prompt: Prompt.Prompt) {
  const results = new Set(
    prompt.content.flatMap((message) =>
      message.role === "tool" ? message.content.flatMap((part) => (part.type === "tool-result" ? part.id : [])) : []
    )
  )
  const messages: Array<object> = []
  for (const message of prompt.content) {
    switch (message.role) {
      case "system": {
        messages.push({ role: "system", content: content([text(message.content, message)]) })
        break
      }
      case "user": {
        messages.push({ role: "user", content: content(yield* Effect.forEach(message.content, userPart)) })
        break
      }
      case "assistant": {
        const written = yield* assistant(message, results)
        if (written === undefined) break
        messages.push(written)
        for (const part of message.content) {
          if (part.type === "tool-call" && !results.has(part.id)) {
            messages.push({ role: "tool", tool_call_id: part.id, content: unanswered })
          }
        }
        break
      }
      case "tool": {
        for (const part of message.content) {
          if (part.type === "tool-result") {
            messages.push({ role: "tool", tool_call_id: part.id, content: yield* resultOf(part) })
          }
        }
      }
    }
  }
  return messages
})

const userPart = (part: Prompt.UserMessagePart) =>
  part.type === "text" ? Effect.succeed(text(part.text, part)) : Effect.map(imageOf(part), (url) => image(url, part))

const assistant = Effect.fnUntraced(function* (
  { content: parts }: Prompt.AssistantMessage,
  results: ReadonlySet<string>
) {
  const written: Array<Part> = []
  const calls: Array<Part> = []
  for (const part of parts) {
    switch (part.type) {
      case "text": {
        // Claude refuses empty texts.
        if (part.text !== "") written.push(text(part.text, part))
        break
      }
      case "reasoning": {
        // Sent back as it came. Reasoning of other origins has no form in a request, and models do not need it.
        const item = fieldsOf(part)
        if (typeof item["type"] === "string") {
          written.push({ type: "reasoning", summary: [{ ...item, ...(part.text !== "" && { text: part.text }) }] })
        }
        break
      }
      case "tool-call": {
        if (part.providerExecuted) return yield* unsendable(`the tool call "${part.id}", which another provider ran`)
        const { id, name, params } = part
        const given = typeof params === "string" ? params : json(params)
        calls.push({ id, type: "function", function: { name, arguments: given }, ...fieldsOf(part) })
        break
      }
      case "tool-approval-request": {
        if (!results.has(part.toolCallId)) {
          return yield* unsendable(
            `the tool call "${part.toolCallId}", which waits for approval: add a tool-approval-response for "${part.approvalId}", and pass the toolkit`
          )
        }
        break
      }
      default:
        return yield* unsendable(`a part of the type ${part.type} in a message of the assistant`)
    }
  }
  if (written.length === 0 && calls.length === 0) return undefined
  return {
    role: "assistant",
    content: written.length === 0 ? null : content(written),
    ...(calls.length > 0 && { tool_calls: calls })
  }
})

const resultOf = Effect.fnUntraced(function* ({ id, modelOutput, name, result }: Prompt.ToolResultPart) {
  if (modelOutput === undefined) return typeof result === "string" ? result : json(result)
  const file = modelOutput.find((part) => part.type === "file")
  if (file !== undefined) {
    return yield* unsendable(`a file (${file.mediaType}) in the result "${id}" of the tool "${name}"`)
  }
  return content(modelOutput.map((part) => text(part.type === "text" ? part.text : "", part)))
})

/** The URL of an image. Other files have no form that all endpoints know. */
const imageOf = ({ data, mediaType }: Prompt.FilePart): Effect.Effect<string, AiError.AiErrorReason> => {
  if (!mediaType.startsWith("image/")) return unsendable(`a file of the type ${mediaType}: only images can be sent`)
  const url = data instanceof URL ? data.href : typeof data === "string" && /^[a-z][a-z+.-]*:/i.test(data) ? data : ""
  if (url !== "") {
    return /^(https?|data):/i.test(url)
      ? Effect.succeed(url)
      : unsendable(`an image with a URL that is neither https nor data: ${url.slice(0, 100)}`)
  }
  const type = mediaType === "image/*" ? "image/jpeg" : mediaType
  return Effect.succeed(`data:${type};base64,${data instanceof Uint8Array ? Base64.encode(data) : String(data)}`)
}

const image = (url: string, part: Prompt.FilePart): Part => ({
  type: "image_url",
  image_url: { url, ...fieldsOf(part) }
})

const text = (written: string, part: { readonly options: Prompt.ProviderOptions }): Part => ({
  type: "text",
  text: written,
  ...fieldsOf(part)
})

/** The further fields of a part, such as `cache_control` of a text, `detail` of an image, `signature` of reasoning. */
const fieldsOf = ({ options }: { readonly options: Prompt.ProviderOptions }): Readonly<Record<string, unknown>> => {
  const fields = options["databricks"]
  return Predicate.isObject(fields) ? fields : {}
}

/** One text without further fields is sent as text: every endpoint takes that. */
const content = (parts: ReadonlyArray<Part>) => {
  const [first] = parts
  return parts.length === 1 && first?.type === "text" && Object.keys(first).length === 2 ? first["text"] : parts
}

// A Chat keeps a tool call whose stream was stopped before the result, and endpoints refuse a call without one.
const unanswered = JSON.stringify({
  type: "execution-interrupted",
  reason: "The call was stopped before it had a result. It may have run."
})

// undefined is the result of a tool without one.
const json = (value: unknown) => ExactJson.stringify(value ?? null, (_, number) => number)

const unsendable = (part: string) =>
  Effect.fail(
    new AiError.InvalidRequestError({ parameter: "prompt", description: `A serving endpoint cannot take ${part}` })
  )
