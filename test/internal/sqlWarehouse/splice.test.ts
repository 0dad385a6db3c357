import { assert, describe, it } from "@effect/vitest"
import * as Arrow from "apache-arrow"
import { Schema } from "effect"
import * as Splice from "../../../src/internal/sqlWarehouse/splice.ts"

type Row = { readonly id: number; readonly word: string | null }

/** A stream of one record batch. Its words are in a dictionary of its own. */
const streamOf = (rows: ReadonlyArray<Row>, { batches = 1, id = 7 } = {}): Uint8Array => {
  const size = Math.max(1, Math.ceil(rows.length / batches))
  const parts = Array.from({ length: batches }, (_, index) => rows.slice(index * size, (index + 1) * size))
  const ids = Arrow.makeBuilder({ type: new Arrow.Int32(), nullValues: [null] })
  const words = Arrow.makeBuilder({
    type: new Arrow.Dictionary(new Arrow.Utf8(), new Arrow.Int32(), id),
    nullValues: [null]
  })
  const tables = parts.map((part) => {
    for (const { id, word } of part) {
      ids.append(id)
      words.append(word)
    }
    return { id: ids.flush(), word: words.flush(), length: part.length }
  })
  const schema = new Arrow.Schema([new Arrow.Field("id", ids.type, true), new Arrow.Field("word", words.type, true)])
  const batch = ({ id, length, word }: (typeof tables)[number]) =>
    new Arrow.RecordBatch(
      schema,
      Arrow.makeData({ type: new Arrow.Struct(schema.fields), length, nullCount: 0, children: [id, word] })
    )
  const writer = new Arrow.RecordBatchStreamWriter()
  writer.reset(undefined, schema)
  for (const table of tables) writer.write(batch(table))
  return writer.finish().toUint8Array(true)
}

const rowsIn = (bytes: Uint8Array): ReadonlyArray<Row> =>
  Arrow.tableFromIPC(bytes)
    .toArray()
    .map((row) => ({ id: row["id"], word: row["word"] }))

/** Cuts bytes into parts of these lengths, repeated. */
const cut = (bytes: Uint8Array, lengths: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const parts: Array<Uint8Array> = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length]!
    parts.push(bytes.subarray(at, at + length))
    at += length
  }
  return parts
}

const splice = (streams: ReadonlyArray<Uint8Array>, lengths: ReadonlyArray<number> = [1 << 20]) => {
  const splicer = Splice.make()
  const passed: Array<Uint8Array> = []
  const counts = streams.map((stream) => {
    for (const part of cut(stream, lengths)) passed.push(...splicer.push(part))
    return splicer.next()
  })
  return { bytes: Buffer.concat([...passed, Splice.end]), counts }
}

const Rows = Schema.Array(
  Schema.Struct({
    id: Schema.Int.check(Schema.isBetween({ minimum: -9, maximum: 9 })),
    word: Schema.NullOr(Schema.Literals(["a", "b", "c", "dddddddddddddddd"]))
  })
)
const Lengths = Schema.NonEmptyArray(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 700 })))
const Streams = Schema.Array(Rows).check(Schema.isMinLength(1), Schema.isMaxLength(6))

describe("splice", () => {
  it.prop(
    "makes one stream of all rows, with the dictionary of each, wherever the bytes are cut",
    { streams: Streams, lengths: Lengths },
    ({ lengths, streams }) => {
      const { bytes, counts } = splice(
        streams.map((rows, index) => streamOf(rows, { id: 5 + (index % 3) })),
        lengths
      )
      assert.deepStrictEqual(rowsIn(bytes), streams.flat())
      assert.deepStrictEqual(
        counts,
        streams.map(({ length }) => length)
      )
    }
  )

  it.prop(
    "refuses a stream that is cut short, wherever it is cut, or says how many rows it has",
    {
      rows: Rows.check(Schema.isMinLength(2)),
      at: Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 0.999 }))
    },
    ({ at, rows }) => {
      const stream = streamOf(rows, { batches: 2 })
      const short = stream.subarray(0, Math.floor(stream.length * at))
      let counts: ReadonlyArray<number> | undefined
      try {
        counts = splice([short]).counts
      } catch {
        return
      }
      // Only the end is missing, which is optional, or whole batches are, which the number of rows shows.
      assert.isTrue(counts[0]! < rows.length || stream.length - short.length <= Splice.end.length)
    }
  )

  it("extends a dictionary by the deltas of its own stream, and replaces it by that of the next", () => {
    const first = [
      { id: 1, word: "a" },
      { id: 2, word: "b" },
      { id: 3, word: "c" },
      { id: 4, word: "a" }
    ]
    const second = [
      { id: 5, word: "c" },
      { id: 6, word: "d" },
      { id: 7, word: "c" },
      { id: 8, word: "e" }
    ]
    const { bytes } = splice([streamOf(first, { batches: 2 }), streamOf(second, { batches: 4, id: 2 })])
    assert.deepStrictEqual(rowsIn(bytes), [...first, ...second])
  })

  it("refuses a dictionary whose id is not written, where the first stream has another", () => {
    const rows = [{ id: 1, word: "a" }]
    assert.deepStrictEqual(rowsIn(splice([streamOf(rows, { id: 0 }), streamOf(rows)]).bytes), [...rows, ...rows])
    assert.throws(() => splice([streamOf(rows), streamOf(rows, { id: 0 })]), /different ids/)
  })

  it("passes on a body as it comes, and holds no more than the metadata of a message", () => {
    const rows = Array.from({ length: 20_000 }, (_, id) => ({ id, word: "a" }))
    const splicer = Splice.make()
    let received = 0
    let passed = 0
    let most = 0
    for (const part of cut(streamOf(rows), [1000])) {
      received += part.length
      for (const { length } of splicer.push(part)) passed += length
      most = Math.max(most, received - passed)
    }
    assert.isAbove(received, 80_000)
    assert.isAtMost(most, 2_000)
  })

  it("refuses a stream with other columns, and accepts one whose schema has other metadata", () => {
    const table = (values: object, metadata?: Map<string, string>) => {
      const made = new Arrow.Table(values as Record<string, Arrow.Vector>)
      const schema = new Arrow.Schema(made.schema.fields, metadata)
      return Arrow.tableToIPC(new Arrow.Table(schema, made.batches), "stream")
    }
    const x = Arrow.vectorFromArray([1, 2], new Arrow.Int32())
    const long = Arrow.vectorFromArray([1n], new Arrow.Int64())
    for (const other of [{ y: x }, { x: long }, { x, y: x }]) {
      assert.throws(() => splice([table({ x }), table(other)]), /different schemas/)
    }
    const { bytes } = splice([table({ x }), table({ x }, new Map([["written", "later"]]))])
    assert.strictEqual(Arrow.tableFromIPC(bytes).numRows, 4)
  })

  it("refuses bytes after the end, a second schema, and rows without a schema", () => {
    const stream = streamOf([{ id: 1, word: "a" }])
    const open = stream.subarray(0, stream.length - Splice.end.length)
    assert.throws(() => splice([Buffer.concat([stream, stream])]), /after its end/)
    assert.throws(() => splice([Buffer.concat([open, stream])]), /one schema/)
    const [schema] = Splice.make().push(stream)
    assert.throws(() => splice([stream.subarray(schema!.length)]), /one schema/)
    assert.throws(() => splice([Buffer.from("<html><body>")]), RangeError)
    assert.throws(() => splice([new Uint8Array()]), /truncated/)
  })
})
