/** The parts of a response: what a message, a tool call, its usage and its end become. */
import { DateTime, Effect, Option, Schema } from "effect"
import type { LanguageModel, Response } from "effect/ai"
import * as AiError from "effect/ai/AiError"
import * as Tool from "effect/ai/Tool"
import type * as ChatCompletion from "../../ChatCompletion.ts"
import * as Json from "../serving/json.ts"

/** A text, or a summary of reasoning with the fields of its item. */
export interface Item {
  readonly type: "text" | "reasoning"
  readonly text: string
  readonly fields?: Readonly<Record<string, string>>
}

/** A tool call whose arguments are complete. */
export interface Call {
  readonly id: string
  readonly name: string
  readonly text: string
  readonly thoughtSignature: string | undefined
}

type Content = Pick<
  ChatCompletion.Completion["choices"][number]["message"],
  "content" | "reasoning_content" | "refusal"
>

/** The texts and the reasoning of a message, or of a delta. */
export const itemsOf = ({ content, reasoning_content, refusal }: Content): ReadonlyArray<Item> => {
  const items: Array<Item> = []
  if (hasText(reasoning_content)) items.push({ type: "reasoning", text: reasoning_content })
  if (hasText(content)) items.push({ type: "text", text: content })
  else if (Array.isArray(content)) {
    for (const part of content) {
      if ("text" in part && part.text !== "") items.push({ type: "text", text: part.text })
      if (!("summary" in part)) continue
      for (const { text, ...fields } of part.summary) {
        // Signatures and encrypted texts go back to the endpoint with the next request.
        const filled = Object.entries(fields).filter((field): field is [string, string] => hasText(field[1]))
        items.push({ type: "reasoning", text: text ?? "", fields: Object.fromEntries(filled) })
      }
    }
  }
  if (hasText(refusal)) items.push({ type: "text", text: refusal })
  return items
}

export const hasText = (value: unknown): value is string => typeof value === "string" && value !== ""

/** Fails if a tool is not among those of the request. */
export const declared = (name: string, { toolCallValidation, tools }: LanguageModel.ProviderOptions) =>
  toolCallValidation === "deferred" || tools.some((tool) => tool.name === name)
    ? Effect.void
    : Effect.fail(new AiError.ToolNotFoundError({ toolName: name, availableTools: tools.map((tool) => tool.name) }))

/** The part of a tool call. Arguments that are not JSON stay text: the tool's `failureMode` decides on them. */
export const callPart = (
  { id, name, text, thoughtSignature }: Call,
  { tools }: LanguageModel.ProviderOptions,
  transformer: LanguageModel.CodecTransformer
): Effect.Effect<Response.ToolCallPartEncoded> => {
  const tool = tools.find((one) => one.name === name)
  const given = argumentsOf(text)
  const params =
    tool !== undefined && Tool.getStrictMode(tool) === true && !Tool.isDynamic(tool)
      ? original(tool.parametersSchema, given, transformer)
      : Effect.succeed(given)
  return Effect.map(params, (params) => ({
    type: "tool-call",
    id,
    name,
    params,
    ...(thoughtSignature !== undefined && { metadata: { databricks: { thoughtSignature } } })
  }))
}

const argumentsOf = (text: string): unknown => {
  if (text.trim() === "") return {}
  try {
    Tool.unsafeSecureJsonParse(text)
    // An integer beyond 2^53 becomes text, so that no id is rounded.
    return Json.parse(text)
  } catch {
    return text
  }
}

/** Turns arguments by a strict JSON Schema, where an optional field is null, back into those of the tool's Schema. */
const original = (schema: Schema.Constraint, given: unknown, transformer: LanguageModel.CodecTransformer) => {
  // The transformer's type is of schemas without services, and a tool may be declared with others.
  const codec = schema as Schema.ConstraintCodec<unknown, unknown>
  return Schema.decodeUnknownEffect(transformer(codec).codec)(given).pipe(
    Effect.flatMap(Schema.encodeUnknownEffect(codec)),
    Effect.orElseSucceed(() => given)
  )
}

type Described = Pick<ChatCompletion.Completion, "created" | "id" | "model">

export const metadataOf = ({ created, id, model }: Described): Response.ResponseMetadataPartEncoded => {
  const timestamp = Option.getOrUndefined(DateTime.make((created ?? Number.NaN) * 1000))
  return {
    type: "response-metadata",
    ...(hasText(id) && { id }),
    ...(hasText(model) && { modelId: model }),
    ...(timestamp !== undefined && { timestamp: DateTime.formatIso(timestamp) })
  }
}

export const finishOf = (
  reason: string | null | undefined,
  hasCalls: boolean,
  refused: boolean
): Response.FinishReason => {
  if (refused) return "content-filter"
  if (!hasText(reason)) return "unknown"
  const known = finishReasons.get(reason) ?? "other"
  // Some models stop in order to call tools.
  return known === "stop" && hasCalls ? "tool-calls" : known
}

const finishReasons = new Map<string, Response.FinishReason>([
  ["stop", "stop"],
  ["length", "length"],
  ["tool_calls", "tool-calls"],
  ["function_call", "tool-calls"],
  ["content_filter", "content-filter"]
])

export const usageOf = (usage: ChatCompletion.Completion["usage"]): Response.FinishPartEncoded["usage"] => {
  const total = usage?.prompt_tokens ?? undefined
  const cached = usage?.prompt_tokens_details?.cached_tokens ?? undefined
  const written = usage?.completion_tokens ?? undefined
  const reasoning = usage?.completion_tokens_details?.reasoning_tokens ?? usage?.reasoning_tokens ?? undefined
  return {
    inputTokens: {
      total,
      uncached: total === undefined || cached === undefined ? undefined : total - cached,
      cacheRead: cached ?? usage?.cache_read_input_tokens ?? undefined,
      cacheWrite: usage?.cache_creation_input_tokens ?? undefined
    },
    outputTokens: {
      total: written,
      text: written === undefined || reasoning === undefined ? undefined : written - reasoning,
      reasoning
    }
  }
}
