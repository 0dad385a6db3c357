import { assert, describe, it } from "@effect/vitest"
import { BigDecimal, DateTime, Effect, Result, Schema } from "effect"
import { runInThisContext } from "node:vm"
import { parametersOf, problemOf, rowsOf } from "../../../src/cli/generate/types.ts"
import { parse } from "../../../src/internal/queries/parse.ts"
import { bySchema } from "../../../src/internal/sqlWarehouse/rows.ts"
import { toJson, valuesOf } from "../../../src/internal/sqlWarehouse/values.ts"
import { distinct, print, sample, Type } from "../../fixtures/columnTypes.ts"

const schemaOf = (type: string) => runInThisContext(`(Schema) => ${rowsOf([{ name: "x", type }])}`)(Schema)

/** Decodes a value as a query in the module does. */
const decode = (type: string, text: string | null): unknown =>
  Effect.runSync(
    Effect.map(
      bySchema(schemaOf(type) as Schema.Codec<{ readonly x: unknown }>)([
        { name: "x", type_text: type, type_name: "" }
      ])([[text]], 0),
      ([row]) => row?.x
    )
  )

const sources: ReadonlyArray<readonly [type: string, schema: string]> = [
  ["tinyint", "Schema.NullOr(Schema.Int)"],
  ["int", "Schema.NullOr(Schema.Int)"],
  ["bigint", "Schema.NullOr(Schema.BigInt)"],
  ["double", "Schema.NullOr(Schema.Number)"],
  ["decimal(10,2)", "Schema.NullOr(Schema.BigDecimal)"],
  ["boolean", "Schema.NullOr(Schema.Boolean)"],
  ["string", "Schema.NullOr(Schema.String)"],
  ["date", "Schema.NullOr(Schema.String)"],
  ["timestamp_ntz", "Schema.NullOr(Schema.String)"],
  ["timestamp", "Schema.NullOr(Schema.DateTimeUtc)"],
  ["binary", "Schema.NullOr(Schema.Uint8Array)"],
  ["variant", "Schema.NullOr(Schema.Json)"],
  ["void", "Schema.Null"],
  ["interval year to month", "Schema.NullOr(Schema.String)"],
  ["geography(4326)", "Schema.NullOr(Schema.String)"],
  ["array<bigint>", "Schema.NullOr(Schema.Array(Schema.NullOr(Schema.BigInt)))"],
  ["map<string,decimal(5,1)>", "Schema.NullOr(Schema.ReadonlyMap(Schema.String, Schema.NullOr(Schema.BigDecimal)))"]
]

describe("generate, the Schema of a column", () => {
  for (const [type, schema] of sources) {
    it(`is ${schema} for ${type}`, () => {
      assert.strictEqual(rowsOf([{ name: "x", type }]), `Schema.Struct({\n  x: ${schema}\n})`)
    })
  }

  it("has the fields of a STRUCT, quoted where they are no identifiers, on lines of their own", () => {
    assert.strictEqual(
      rowsOf([{ name: "place", type: 'struct<`a b`:int,"q":array<struct<n:string>>>' }]),
      [
        "Schema.Struct({",
        "  place: Schema.NullOr(Schema.Struct({",
        '    "a b": Schema.NullOr(Schema.Int),',
        '    "\\"q\\"": Schema.NullOr(Schema.Array(Schema.NullOr(Schema.Struct({',
        "      n: Schema.NullOr(Schema.String)",
        "    }))))",
        "  }))",
        "})"
      ].join("\n")
    )
  })

  it.prop(
    "decodes every value as a query without a Schema reads it, and NULL",
    { type: Type, seed: Schema.Int },
    ({ seed, type: any }) => {
      const type = print(distinct(any))
      const sent = toJson(sample(distinct(any), Math.abs(seed)))
      // No map has a key that is NULL.
      if (sent === null || /\[\[null,/.test(JSON.stringify(sent))) return
      const text = typeof sent === "string" ? sent : JSON.stringify(sent)
      const value = Result.getOrThrow(valuesOf([{ name: "x", type_text: type, type_name: "" }])([[text]], 0))[0]![0]
      assert.deepStrictEqual(comparable(decode(type, text)), comparable(value))
      assert.isNull(decode(type, null))
    },
    { arbitrary: { runs: 500 } }
  )

  it("keeps the digits of a number in a VARIANT that a JavaScript number would lose", () => {
    assert.deepStrictEqual(decode("variant", '{"id":12345678901234567890,"n":[1,null]}'), {
      id: "12345678901234567890",
      n: [1, null]
    })
    assert.deepStrictEqual(decode("array<variant>", "[9007199254740993]"), ["9007199254740993"])
  })
})

/** The same for a value and for its JSON, where it is a VARIANT. */
const comparable = (value: unknown): unknown => {
  if (typeof value === "bigint") return String(value)
  if (BigDecimal.isBigDecimal(value)) return BigDecimal.format(value)
  if (DateTime.isDateTime(value)) return DateTime.formatIso(value)
  if (value instanceof Uint8Array) return [...value]
  if (value instanceof Map) return Array.from(value, (pair) => pair.map(comparable))
  if (Array.isArray(value)) return value.map(comparable)
  return typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([name, field]) => [name, comparable(field)]))
    : value
}

describe("generate, the Schema of the parameters", () => {
  const parametersIn = (text: string) => {
    const names = Array.from(text.matchAll(/@param (\w+)/g), ([, name]) => name!)
    const marks = names.map((name) => (text.includes(`${name} INT[]`) ? `1 IN (:${name})` : `:${name}`))
    return parametersOf(Result.getOrThrow(parse("a.sql", `${text}\nSELECT ${marks.join(", ")}`)).parameters)
  }

  it("has the JavaScript type of each, and text for DATE, DECIMAL and TIMESTAMP_NTZ", () => {
    const types = {
      STRING: "String",
      BOOLEAN: "Boolean",
      TINYINT: "Int",
      BIGINT: "BigInt",
      DOUBLE: "Number",
      "DECIMAL(10,2)": "String",
      DATE: "String",
      TIMESTAMP: "Date",
      TIMESTAMP_NTZ: "String",
      BINARY: "Uint8Array"
    }
    for (const [type, schema] of Object.entries(types)) {
      assert.strictEqual(parametersIn(`-- @param x ${type}`), `Schema.Struct({\n  x: Schema.${schema}\n})`)
    }
  })

  it("is optional with a default, accepts null where that is the default, and is an array for a list", () => {
    const text = "-- @param a INT[] DEFAULT ()\n-- @param b INT DEFAULT NULL\n-- @param c INT = 1"
    assert.strictEqual(
      parametersIn(text),
      [
        "Schema.Struct({",
        "  a: Schema.optional(Schema.Array(Schema.Int)),",
        "  b: Schema.optional(Schema.NullOr(Schema.Int)),",
        "  c: Schema.Int",
        "})"
      ].join("\n")
    )
  })
})

describe("generate, the columns of a row", () => {
  it("are refused by name if two are equal or one is __proto__, also in a STRUCT", () => {
    const one = (name: string, type = "int") => ({ name, type })
    assert.isUndefined(problemOf([one("a"), one("A"), one("")]))
    assert.match(problemOf([one("id"), one("id")]) ?? "", /"id".* AS/)
    assert.match(problemOf([one("__proto__")]) ?? "", /__proto__/)
    assert.match(problemOf([one("a", "array<map<string,struct<b:int,b:int>>>")]) ?? "", /"b"/)
  })
})
