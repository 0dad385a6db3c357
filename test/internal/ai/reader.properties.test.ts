import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { LanguageModel, Response, Tool, Toolkit } from "effect/ai"
import type { ChatCompletion } from "effect-databricks"
import * as Reader from "../../../src/internal/ai/reader.ts"

const Text = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(20))
const Block = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Text }),
  Schema.Struct({ type: Schema.Literal("thought"), text: Text, signature: Schema.NullOr(Text) }),
  Schema.Struct({ type: Schema.Literal("encrypted"), data: Text })
])
const Arguments = Schema.Struct({
  region: Schema.optionalKey(Text),
  limit: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1000 })),
  'a "quoted" ünit': Schema.Array(Text).check(Schema.isMaxLength(2))
})
const Answer = Schema.Struct({
  blocks: Schema.Array(Block).check(Schema.isMaxLength(5)),
  calls: Schema.Array(Schema.Struct({ name: Schema.Literals(["a", "b"]), params: Arguments })).check(
    Schema.isMaxLength(3)
  )
})
type Answer = typeof Answer.Type

/** The numbers that decide where the response is split, and whose turn it is. */
const Cuts = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 }))).check(
  Schema.isMinLength(8),
  Schema.isMaxLength(40)
)

const toolkit = Toolkit.make(Tool.make("a", { parameters: Arguments }), Tool.make("b", { parameters: Arguments }))
const options = {
  tools: Object.values(toolkit.tools)
} as unknown as LanguageModel.ProviderOptions // a reader needs no more of them

const transformer = LanguageModel.defaultCodecTransformer

type Delta = ChatCompletion.Chunk["choices"][number]["delta"]

const chunk = (delta: Delta, finish_reason: string | null = null): ChatCompletion.Chunk => ({
  id: "r",
  choices: [{ index: 0, delta, finish_reason }]
})

const next = (cuts: ReadonlyArray<number>) => {
  let at = 0
  return () => cuts[at++ % cuts.length]!
}

/** The text in pieces of 1 to 8 UTF-16 units. Some are half a character, as those of real models. */
const piecesOf = (text: string, cut: () => number): ReadonlyArray<string> => {
  const pieces: Array<string> = []
  for (let start = 0; start < text.length;) {
    const end = start + 1 + cut()
    pieces.push(text.slice(start, end))
    start = end
  }
  return pieces
}

const reasoning = (item: object): Delta => ({ content: [{ type: "reasoning", summary: [item] } as never] })

const deltasOf = ({ blocks, calls }: Answer, cut: () => number): ReadonlyArray<Delta> => {
  const contents = blocks.flatMap((block): ReadonlyArray<Delta> => {
    switch (block.type) {
      case "text":
        return piecesOf(block.text, cut).map((text) => ({ content: cut() > 3 ? text : [{ type: "text", text }] }))
      case "encrypted":
        return [reasoning({ type: "summary_encrypted_text", data: block.data })]
      default: {
        const { signature, text } = block
        const pieces = piecesOf(text, cut).map((piece) =>
          reasoning({ type: "summary_text", text: piece, signature: "" })
        )
        if (signature === null) return pieces
        return [...pieces, reasoning({ type: "summary_text", text: "", signature })]
      }
    }
  })
  // The pieces of parallel calls come in any order that keeps each call's own.
  const open = calls.map(({ name, params }, index) => ({
    index,
    pieces: [
      { id: `c${index}`, function: { name, arguments: "" } },
      ...piecesOf(JSON.stringify(params), cut).map((piece) => ({ function: { arguments: piece } }))
    ]
  }))
  const pieces: Array<Delta> = []
  for (let left = open; left.length > 0; left = left.filter((call) => call.pieces.length > 0)) {
    const { index, pieces: rest } = left[cut() % left.length]!
    pieces.push({ tool_calls: [{ index, ...rest.shift()! }] })
  }
  return [...contents, ...pieces]
}

const read = (chunks: ReadonlyArray<ChatCompletion.Chunk>) => {
  const reader = Reader.make(options, transformer, "new")
  return Effect.runSync(
    Effect.flatMap(Effect.forEach(chunks, reader.read), (parts) =>
      Effect.map(reader.end, (end) => [...parts.flat(), ...end])
    )
  )
}

/** The parts that a response of these blocks and calls has. */
const expected = ({ blocks, calls }: Answer) => {
  const parts: Array<{ type: string; text: string; fields?: object }> = []
  for (const block of blocks) {
    const last = parts.at(-1)
    if (block.type === "encrypted") {
      parts.push({ type: "reasoning", text: "", fields: { type: "summary_encrypted_text", data: block.data } })
    } else if (block.type === "text") {
      if (last?.type === "text") last.text += block.text
      else parts.push({ type: "text", text: block.text })
    } else {
      const fields = { type: "summary_text", ...(block.signature !== null && { signature: block.signature }) }
      const unsigned = last?.fields !== undefined && Object.keys(last.fields).length === 1
      if (unsigned) Object.assign(last, { text: last.text + block.text, fields })
      else parts.push({ type: "reasoning", text: block.text, fields })
    }
  }
  return [
    ...parts.map(({ fields, text, type }) => ({ type, text, ...(fields && { metadata: { databricks: fields } }) })),
    ...calls.map(({ name, params }, index) => ({ type: "tool-call", id: `c${index}`, name, params }))
  ]
}

const contentOf = (parts: ReadonlyArray<Response.PartEncoded>) =>
  parts.filter(({ type }) => type !== "response-metadata" && type !== "finish")

describe("The reader of a model's response", () => {
  it.prop("gives the same parts wherever the chunks are split", { answer: Answer, cuts: Cuts }, ({ answer, cuts }) => {
    const parts = read([...deltasOf(answer, next(cuts)).map((delta) => chunk(delta)), chunk({}, "stop")])
    assert.deepStrictEqual<unknown>(contentOf(Reader.whole(parts)), expected(answer))

    // Every block and call opens once, closes once, and has its pieces in between.
    const open = new Set<string>()
    for (const part of parts) {
      const [, kind, event] = /^(text|reasoning|tool-params)-(start|delta|end)$/.exec(part.type) ?? []
      if (kind === undefined || !("id" in part)) continue
      const key = `${kind} ${part.id}`
      assert.strictEqual(open.has(key), event !== "start", `${part.type} ${part.id}`)
      if (event === "start") open.add(key)
      if (event === "end") open.delete(key)
    }
    assert.strictEqual(open.size, 0)
    const types = parts.map(({ type }) => type)
    assert.strictEqual(types[0], "response-metadata")
    assert.strictEqual(types.at(-1), "finish")
  })

  it.prop("decodes to parts of effect/ai", { answer: Answer, cuts: Cuts }, ({ answer, cuts }) => {
    const parts = read(deltasOf(answer, next(cuts)).map((delta) => chunk(delta)))
    const decode = Schema.decodeUnknownSync(Schema.Array(Response.StreamPart(toolkit)))
    assert.lengthOf(decode(parts), parts.length)
  })
})
