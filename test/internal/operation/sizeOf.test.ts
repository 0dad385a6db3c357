import { assert, describe, it } from "@effect/vitest"
import { sizeOf } from "../../../src/internal/operation/sizeOf.ts"

const unlimited = Number.POSITIVE_INFINITY

/** What was read of a list whose items are counted as they are read. */
const readOf = (limit: number, item: () => unknown) => {
  let read = 0
  const list = new Proxy(Array.from({ length: 1_000_000 }), {
    get: (target, name, receiver) => {
      if (typeof name !== "string" || !/^\d+$/.test(name)) return Reflect.get(target, name, receiver)
      read++
      return item()
    }
  })
  return { bytes: sizeOf(list, limit), read }
}

describe("sizeOf", () => {
  it("returns at least the size of a text or a buffer, wherever it is nested", () => {
    const text = "é".repeat(10_000)
    const buffer = new ArrayBuffer(20_000)
    const texts = [text, [text], [[text]], { a: { b: text } }, new Set([text]), new Map([[text, 1]]), { [text]: 1 }]
    const buffers = [buffer, new Uint8Array(buffer), Buffer.alloc(20_000), [new DataView(buffer)]]
    const heavy = [...texts, new Map([[1, text]]), ...buffers, new SharedArrayBuffer(20_000)]
    for (const value of heavy) assert.isAtLeast(sizeOf(value, unlimited), 20_000)
    // A small part of a buffer keeps all of it.
    assert.isAtLeast(sizeOf(new Uint8Array(buffer, 0, 1), unlimited), 20_000)
  })

  it("returns about the memory that V8 takes for rows, and counts shared property names once", () => {
    const rows = Array.from({ length: 10_000 }, (_, index) => ({ region: `region ${index}`, amount: index + 0.5 }))
    const bytes = sizeOf(rows, unlimited)
    // Measured on Node 24: some 85 bytes a row.
    assert.isAbove(bytes, 10_000 * 60)
    assert.isBelow(bytes, 10_000 * 200)
    const name = "n".repeat(1_000)
    assert.isBelow(sizeOf([{ [name]: 1 }, { [name]: 2 }], unlimited), 3_000)
    // A dictionary has another name each time.
    const dictionary = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`${name}${index}`, 1]))
    assert.isAtLeast(sizeOf(dictionary, unlimited), 2_000_000)
  })

  it("ends on cycles, and counts shared values once", () => {
    const cycle: Record<string, unknown> = { text: "x".repeat(100) }
    cycle["self"] = [cycle, new Map([[cycle, cycle]]), new Set([cycle])]
    assert.isBelow(sizeOf(cycle, 10_000), 1_000)
    const buffer = new ArrayBuffer(10_000)
    assert.isBelow(sizeOf([new Uint8Array(buffer), new Uint8Array(buffer), buffer], unlimited), 11_000)
  })

  it("stops reading when the limit is passed", () => {
    const leaves = readOf(1_000, () => "x".repeat(100))
    assert.isAbove(leaves.bytes, 1_000)
    assert.isBelow(leaves.read, 100)
    const objects = readOf(1_000, () => ({}))
    assert.isAbove(objects.bytes, 1_000)
    assert.isBelow(objects.read, 200)
    // It would never end: each has another one in it.
    const endless = (): object => ({
      get next() {
        return endless()
      }
    })
    assert.isAbove(sizeOf(endless(), 100_000), 100_000)
  })

  it("returns 1 to 99 bytes for a primitive or a function", () => {
    for (const value of [1, true, null, undefined, 1n, Symbol("a"), () => 1]) {
      assert.isAbove(sizeOf(value, unlimited), 0)
      assert.isBelow(sizeOf(value, unlimited), 100)
    }
  })
})
