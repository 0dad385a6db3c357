import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import type { DatabricksError } from "effect-databricks"
import type * as Links from "../../../src/internal/sqlWarehouse/links.ts"
import * as Results from "../../../src/internal/sqlWarehouse/results.ts"
import type { Answer, Chunk, TextRow } from "../../../src/internal/sqlWarehouse/wire.ts"

const Lengths = Schema.Array(Schema.Literals([0, 1, 2, 3, 50]))

const chunksOf = (lengths: ReadonlyArray<number>) => {
  let offset = 0
  return lengths.map((length, index): Chunk & { readonly data_array: ReadonlyArray<TextRow> } => {
    const data_array = Array.from({ length }, (_, row) => [String(offset + row)])
    const next = index + 1 < lengths.length ? { next_chunk_index: index + 1 } : {}
    const chunk = { chunk_index: index, row_offset: offset, row_count: length, data_array, ...next }
    offset += length
    return chunk
  })
}

const answerOf = (chunks: ReadonlyArray<Chunk>, total: number): Answer => ({
  statement_id: "s",
  status: { state: "SUCCEEDED" },
  manifest: {
    schema: { columns: [{ name: "x", type_text: "STRING", type_name: "STRING" }] },
    total_chunk_count: chunks.length,
    total_row_count: total
  },
  result: chunks[0] ?? {}
})

const source = (ask: Links.Source["ask"]): Links.Source => ({
  host: "https://workspace.invalid",
  fetch: () => Effect.die("nothing is linked to"),
  ask
})

const read = (chunks: ReadonlyArray<Chunk>, answer: Answer) =>
  Stream.runCollect(
    Results.read(
      // Later chunks arrive first.
      source((index) =>
        Effect.as(Effect.yieldNow.pipe(Effect.repeat({ times: chunks.length - index })), chunks[index]!)
      ),
      answer
    )
  )

describe("results.collect", () => {
  it.effect.prop(
    "returns the rows of a single chunk that came with the answer, or fails, exactly as results.read does",
    {
      length: Schema.Literals([0, 1, 3]),
      how: Schema.Literals(["whole", "cut", "longer", "wider", "other", "moved", "continued", "second", "total"])
    },
    ({ how, length }) =>
      Effect.gen(function* () {
        const [chunk] = chunksOf([length])
        const { data_array } = chunk!
        const harmed = {
          whole: {},
          total: {},
          cut: { data_array: data_array.slice(1) },
          longer: { data_array: [...data_array, ["x"]] },
          wider: { data_array: [...data_array.slice(1), ["x", "y"]] },
          other: { data_array: [...data_array.slice(1), [1]] },
          moved: { row_offset: 1 },
          continued: { next_chunk_index: 1 },
          second: { chunk_index: 1 }
        }[how]
        const answer = answerOf([{ ...chunk!, ...harmed }], how === "total" ? length + 1 : length)
        const nothing = source(() => Effect.die("nothing is asked for"))
        const message = Effect.mapError(({ message }: DatabricksError.DatabricksError) => message)
        const read = Effect.map(Stream.runCollect(Results.read(nothing, answer)), (parts) => parts.flat())
        assert.deepStrictEqual(
          yield* Effect.exit(message(Results.collect(nothing, answer))),
          yield* Effect.exit(message(read))
        )
        if (how === "whole") assert.deepStrictEqual(yield* Results.collect(nothing, answer), data_array)
      })
  )
})

describe("results.read", () => {
  it.effect.prop("emits all rows in order, however they are cut into chunks", { lengths: Lengths }, ({ lengths }) =>
    Effect.gen(function* () {
      const chunks = chunksOf(lengths)
      const rows = chunks.flatMap(({ data_array }) => data_array)
      const parts = yield* read(chunks, answerOf(chunks, rows.length))
      assert.deepStrictEqual(parts.flat(), rows)
    })
  )

  it.effect.prop(
    "fails with InvalidResponseError for a chunk that is missing, repeated, cut or altered",
    {
      lengths: Lengths,
      at: Schema.Int,
      how: Schema.Literals(["missing", "twice", "cut", "longer", "wider", "other", "moved"])
    },
    ({ at, how, lengths }) =>
      Effect.gen(function* () {
        const chunks = chunksOf([1, ...lengths, 2])
        const rows = chunks.flatMap(({ data_array }) => data_array)
        const index = Math.abs(at) % (chunks.length - 1)
        const chunk = chunks[index + 1]!
        const wrong = {
          missing: {},
          twice: chunks[index],
          cut: { ...chunk, data_array: chunk.data_array.slice(1) },
          moved: { ...chunk, row_offset: chunk.row_offset! + 1 },
          longer: { ...chunk, data_array: [...chunk.data_array, ["x"]] },
          wider: { ...chunk, data_array: [...chunk.data_array.slice(1), ["x", "y"]] },
          other: { ...chunk, data_array: [...chunk.data_array.slice(1), [1]] }
        }[how]!
        const unharmed = chunk.data_array.length === 0 && (how === "missing" || how === "cut")
        const broken = chunks.map((_, i): Chunk => (i === index + 1 ? wrong : _))
        const exit = yield* Effect.result(read(broken, answerOf(broken, rows.length)))
        if (unharmed) return assert.strictEqual(exit._tag, "Success")
        if (exit._tag === "Success") return assert.fail(`${how} was not seen`)
        assert.strictEqual(exit.failure.reason._tag, "InvalidResponseError")
        assert.match(exit.failure.message, /^The result of the statement s is incomplete: /)
      })
  )

  it.effect("fails for 1,000,001 chunks, a chunk after the last, or a missing manifest", () =>
    Effect.gen(function* () {
      const [first, second] = chunksOf([1, 1])
      const endless = answerOf(
        Array.from({ length: 1_000_001 }, () => ({})),
        1
      )
      assert.match((yield* Effect.flip(read([], endless))).message, /it has 1000001 chunks/)
      assert.match(
        (yield* Effect.flip(read([first!], answerOf([first!], 2)))).message,
        /continues after its last chunk/
      )
      const { result, ...answer } = answerOf([second!], 1)
      assert.strictEqual(
        (yield* Effect.flip(read([], { ...answer, manifest: undefined, result }))).reason._tag,
        "InvalidResponseError"
      )
    })
  )

  it.effect("fetches at most 4 chunks ahead of a slow reader", () =>
    Effect.gen(function* () {
      const chunks = chunksOf(Array.from({ length: 40 }, () => 50))
      let asked = 0
      let read = 0
      let most = 0
      const parts = Results.read(
        source((index) =>
          Effect.sync(() => {
            asked++
            return chunks[index]!
          })
        ),
        answerOf(chunks, 2000)
      )
      yield* Stream.runForEach(parts, () =>
        Effect.gen(function* () {
          yield* Effect.yieldNow.pipe(Effect.repeat({ times: 200 }))
          // The first chunk came with the answer.
          most = Math.max(most, asked + 1 - ++read)
        })
      )
      assert.strictEqual(asked, 39)
      assert.strictEqual(most, 4)
    })
  )
})
