/** Reads the chunks of a response: each adds to open blocks and calls, and the end closes them. */
import { Effect } from "effect"
import type { LanguageModel, Response } from "effect/ai"
import * as AiError from "effect/ai/AiError"
import type * as ChatCompletion from "../../ChatCompletion.ts"
import * as Parts from "./parts.ts"

type Part = Response.StreamPartEncoded
type ToolCallDelta = typeof ChatCompletion.ToolCallDelta.Type

interface Block {
  readonly type: "text" | "reasoning"
  readonly id: string
  /** The fields of the reasoning's item, if it came as one. */
  readonly fields: Record<string, string> | undefined
}

interface Call {
  readonly index: number | undefined
  /** The id that the endpoint gave. */
  given?: string
  /** The id of the parts. No other call has it. */
  id?: string
  name?: string
  thoughtSignature?: string
  text: string
  started: boolean
}

/** Makes the reader of one response. `newId` starts the ids of tool calls that have none. */
export const make = (
  options: LanguageModel.ProviderOptions,
  transformer: LanguageModel.CodecTransformer,
  newId: string
) => {
  let about: Pick<ChatCompletion.Chunk, "created" | "id" | "model"> = {}
  let usage: ChatCompletion.Chunk["usage"]
  let finish: string | undefined
  let refused = false
  let begun = false
  let blocks = 0
  let open: Block | undefined
  const calls: Array<Call> = []

  const close = (): ReadonlyArray<Part> => {
    if (open === undefined) return []
    const { fields, id, type } = open
    open = undefined
    return [{ type: `${type}-end`, id, ...(fields !== undefined && { metadata: { databricks: fields } }) }]
  }

  const add = ({ fields, text, type }: Parts.Item): ReadonlyArray<Part> => {
    const parts: Array<Part> = []
    if (open === undefined || !continues(open, type, fields)) {
      parts.push(...close())
      open = { type, id: `${type}-${blocks++}`, fields: fields && {} }
      parts.push({ type: `${type}-start`, id: open.id })
    }
    if (open.fields !== undefined) Object.assign(open.fields, fields)
    if (text !== "") parts.push({ type: `${type}-delta`, id: open.id, delta: text })
    return parts
  }

  /** Pieces without an index belong to the call of their id, else to the last one. */
  const callOf = ({ function: given, id, index }: ToolCallDelta): Call => {
    // Some endpoints give every call the index 0.
    const isOther = (call: Call) =>
      (index ?? call.index) !== call.index || differs(id, call.given) || differs(given?.name, call.name)
    const found = calls.findLast((call) => !isOther(call))
    if (found !== undefined) return found
    const call: Call = { index: index ?? undefined, text: "", started: false }
    calls.push(call)
    return call
  }

  const addCall = (piece: ToolCallDelta): Effect.Effect<ReadonlyArray<Part>, AiError.AiErrorReason> => {
    const call = callOf(piece)
    const added = piece.function?.arguments ?? ""
    if (Parts.hasText(piece.id)) call.given ??= piece.id
    if (Parts.hasText(piece.function?.name)) call.name ??= piece.function.name
    if (Parts.hasText(piece.thoughtSignature)) call.thoughtSignature ??= piece.thoughtSignature
    call.text += added
    const { name } = call
    if (name === undefined) return Effect.succeed([])
    const delta = call.started ? added : call.text
    // Some endpoints give no id, or the same one to parallel calls, whose results would then be mixed up.
    const isFree = call.given !== undefined && calls.every(({ id }) => id !== call.given)
    const id = (call.id ??= isFree ? call.given! : `${newId}_${calls.indexOf(call)}`)
    const parts: Array<Part> = call.started ? [] : [...close(), { type: "tool-params-start", id, name }]
    if (delta !== "") parts.push({ type: "tool-params-delta", id, delta })
    if (call.started) return Effect.succeed(parts)
    call.started = true
    return Effect.as(Parts.declared(name, options), parts)
  }

  /** The parts that a chunk adds. The first ones follow a part that describes the response. */
  const read = Effect.fnUntraced(function* ({ choices, ...chunk }: ChatCompletion.Chunk) {
    about = { id: about.id ?? chunk.id, model: about.model ?? chunk.model, created: about.created ?? chunk.created }
    usage = chunk.usage ?? usage
    const choice = choices.find(({ index }) => index === 0)
    if (choice === undefined) return []
    refused ||= Parts.hasText(choice.delta.refusal)
    finish = choice.finish_reason ?? finish
    const parts = Parts.itemsOf(choice.delta).flatMap(add)
    for (const piece of choice.delta.tool_calls ?? []) parts.push(...(yield* addCall(piece)))
    if (begun || parts.length === 0) return parts
    begun = true
    return [Parts.metadataOf(about), ...parts]
  })

  /**
   * The last parts. Tools run only for calls of a stream that has ended well, so calls come with the reason for which
   * the model stopped.
   */
  const end = Effect.gen(function* () {
    const parts: Array<Part> = [...(begun ? [] : [Parts.metadataOf(about)]), ...close()]
    for (const { id, name, text, thoughtSignature } of calls.toSorted((a, b) => (a.index ?? 0) - (b.index ?? 0))) {
      if (id === undefined || name === undefined) {
        return yield* Effect.fail(new AiError.InvalidResponseError({ description: "A tool call has no name" }))
      }
      parts.push({ type: "tool-params-end", id })
      parts.push(yield* Parts.callPart({ id, name, text, thoughtSignature }, options, transformer))
    }
    const reason = Parts.finishOf(finish, calls.length > 0, refused)
    parts.push({ type: "finish", reason, usage: Parts.usageOf(usage) })
    return parts
  })

  return {
    read,
    end,
    /** Whether output of the model has been read. */
    hasBegun: () => begun,
    /** The fields of the response that a span shows. */
    about: () => ({ ...about, finish, usage })
  }
}

/** Whether an item continues a block. A signature ends the reasoning that it signs. */
const continues = (block: Block, type: Block["type"], fields: Readonly<Record<string, string>> | undefined) =>
  block.type === type &&
  (block.fields === undefined
    ? fields === undefined
    : fields !== undefined && block.fields["type"] === fields["type"] && Object.keys(block.fields).length === 1)

const differs = (given: string | null | undefined, known: string | undefined) =>
  Parts.hasText(given) && known !== undefined && given !== known

/** The parts of a whole response: each block as one part. */
export const whole = (parts: ReadonlyArray<Part>): Array<Response.PartEncoded> => {
  const texts = new Map<string, string>()
  return parts.flatMap((part): ReadonlyArray<Response.PartEncoded> => {
    switch (part.type) {
      case "text-start":
      case "reasoning-start":
      case "tool-params-start":
      case "tool-params-delta":
      case "tool-params-end":
      case "error":
        return []
      case "text-delta":
      case "reasoning-delta":
        texts.set(part.id, (texts.get(part.id) ?? "") + part.delta)
        return []
      case "text-end":
      case "reasoning-end": {
        const { id, ...rest } = part
        return [{ ...rest, type: part.type === "text-end" ? "text" : "reasoning", text: texts.get(id) ?? "" }]
      }
      default:
        return [part]
    }
  })
}
