import { assert, describe, it } from "@effect/vitest"
import type { Caller } from "effect-databricks"
import { OperationCache } from "effect-databricks"
import { Effect, Redacted, Schema } from "effect"
import { isDeepStrictEqual } from "node:util"
import { encode } from "../../../src/internal/operation/key.ts"

const caller = (context: Caller.Caller["context"], scimId: string): Caller.Caller => ({
  workspaceId: "1",
  context,
  scimId,
  id: scimId,
  userName: scimId,
  email: undefined,
  oboDevFallback: false,
  authorization: Effect.succeed(Redacted.make("Bearer planted-token"))
})

/** One list, in lines that belong together. */
const rows = <A>(lines: ReadonlyArray<ReadonlyArray<A>>): ReadonlyArray<A> => lines.flatMap((line) => line)

const alice = caller("user", "alice")

describe("key.encode", () => {
  // No two of these are the same parameters, however alike they look.
  const apart = rows<OperationCache.KeyPart>([
    ["", "1", "null", "undefined", "true", "NaN", "1n", "@0", "[]", "{}", "a,b", '"', "\\", '\\"', "\ud800", "\ud801"],
    ["\\ud800", "\\ud801", '1"a', '"a"'],
    [0, -0, 1, -1, 1.5, 1e21, NaN, Infinity, -Infinity, 0n, 1n, -1n, true, false, null, undefined],
    [new Date(0), new Date(1), new Date(NaN)],
    [[], [[]], [[], []], [undefined], [null], [""], ["a,b"], ["a", "b"], ["a", ["b"]], [["a"], "b"], [["a", "b"]]],
    [["a", "b", undefined], [1], ["1"], [1n], [12], [1, 2], ['a","b'], [new Date(0)], [0]],
    [{}, { a: undefined }, { a: null }, { a: 1 }, { a: "1" }, { b: 1 }, { a: 1, b: 2 }, { a: 2, b: 1 }],
    [{ a: { b: 1 } }, { "a:1,b": 2 }, { 'a":1,"b': 2 }, { a: [1] }, [{ a: 1 }], [{ a: 1 }, { b: 2 }], { 0: "a" }, ["a"]]
  ])

  it("returns different text for parameters that look alike", () => {
    const texts = new Map<string, OperationCache.KeyPart>()
    for (const part of apart) {
      // As a store elsewhere gets it.
      const text = Buffer.from(encode(part)).toString()
      assert.isFalse(texts.has(text), `${text} stands for two`)
      texts.set(text, part)
    }
  })

  it("returns the same text for any order of an object's properties", () => {
    assert.strictEqual(encode({ a: 1, b: { c: 2, d: [3] } }), encode({ b: { d: [3], c: 2 }, a: 1 }))
    assert.strictEqual(encode(Object.assign(Object.create(null), { a: 1 })), encode({ a: 1 }))
    assert.strictEqual(encode(new Date(5)), encode(new Date(5)))
    assert.notStrictEqual(encode([1, 2]), encode([2, 1]))
  })

  interface List extends ReadonlyArray<Part> {}
  interface Named extends Readonly<Record<string, Part>> {}
  type Part = string | number | boolean | bigint | null | List | Named
  const Part: Schema.Codec<Part> = Schema.Union([
    Schema.String,
    Schema.Literals(["", ",", ":", "]", "}", '"', "a", "b", 'a","b', 'a":1,"b']),
    Schema.Number,
    Schema.Int,
    Schema.Boolean,
    Schema.BigInt,
    Schema.Null,
    Schema.Array(Schema.suspend(() => Part)),
    Schema.Record(
      Schema.Literals(["a", "b", 'a":1,"b']),
      Schema.suspend(() => Part)
    ),
    Schema.Record(
      Schema.String,
      Schema.suspend(() => Part)
    )
  ])

  /** The same part, with the properties of its objects in the opposite order. */
  const turned = (part: Part): Part => {
    if (Array.isArray(part)) return part.map(turned)
    if (typeof part !== "object" || part === null) return part
    const entries = Object.entries(part as Named).map(([name, value]) => [name, turned(value)] as const)
    return Object.fromEntries(entries.toReversed())
  }

  /** Parts that differ from it a little. */
  const others = (part: Part): ReadonlyArray<Part> => [
    [part],
    { a: part },
    encode(part),
    ...(Array.isArray(part) ? [[...part, ""], [...part, []], part.slice(1), part.toReversed(), part.flat()] : [])
  ]

  it.prop(
    "returns the same text for deeply equal parameters, and only for those",
    { one: Part, two: Part },
    ({ one, two }) => {
      assert.strictEqual(encode(turned(one)), encode(one))
      for (const other of [two, ...others(one), ...others(two)]) {
        assert.strictEqual(encode(one) === encode(other), isDeepStrictEqual(turned(one), turned(other)))
      }
    },
    { arbitrary: { runs: 1_000 } }
  )

  it("throws for values that may hold hidden state, such as a Map or a class instance", () => {
    class Range {
      readonly from = 1
    }
    class Tags extends Array<string> {
      readonly locale = "en"
    }
    class Day extends Date {}
    const refused = rows<unknown>([
      [new Range(), new Tags(), new Day(), new Map(), new Set(), new URL("http://a.example"), /a/, new String("a")],
      [Redacted.make("planted-token"), new Uint8Array(1), Object.create({ a: 1 }), Object.create(Array.prototype)],
      [Symbol("a"), () => 1, Range, { [Symbol("a")]: 1 }]
    ])
    for (const part of refused) {
      for (const nested of [part, [part], { a: [part] }]) {
        assert.throws(() => encode(nested as OperationCache.KeyPart), /cannot be part of a cache key/)
      }
    }
  })
})

describe("OperationCache.keyOf", () => {
  it("returns another id for each combination of caller, operation and parameters", () => {
    const callers = [caller("service", "1"), alice, caller("user", "1"), caller("user", ""), caller("user", "user:1")]
    const calls: ReadonlyArray<readonly [string, ReadonlyArray<OperationCache.KeyPart>]> = [
      ["a", []],
      ["b", []],
      ["a", [1]],
      ["a", [[1]]],
      ['a"[1,]', []],
      ["", ["a"]],
      ["a", ["user:1"]],
      ["a", [1, 1]],
      ["a", [11]]
    ]
    const keys = callers.flatMap((who) => calls.map(([name, key]) => OperationCache.keyOf(who, name, key)))
    assert.strictEqual(new Set(keys.map((_) => _.id)).size, callers.length * calls.length)
    assert.strictEqual(new Set(keys.map((_) => _.caller)).size, callers.length)
    assert.strictEqual(new Set(keys.map((_) => _.operation)).size, calls.length)
  })

  it("depends only on the caller's context and scimId, and holds no token", () => {
    const key = OperationCache.keyOf(alice, "sales", ["2026-01-31"])
    assert.notInclude(JSON.stringify(key), "planted-token")
    const again = { ...alice, id: "other", userName: "b", email: "c@d.e", authorization: Effect.die("not asked for") }
    assert.deepStrictEqual(OperationCache.keyOf(again, "sales", ["2026-01-31"]), key)
  })

  it("returns the service principal's key for the development fallback", () => {
    const service = caller("service", "sp")
    assert.deepStrictEqual(
      OperationCache.keyOf({ ...service, oboDevFallback: true }, "sales", []),
      OperationCache.keyOf(service, "sales", [])
    )
  })
})
