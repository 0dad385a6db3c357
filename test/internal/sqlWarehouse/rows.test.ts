import { assert, describe, it } from "@effect/vitest"
import { BigDecimal, DateTime, Effect, Result, Schema } from "effect"
import { afterAll, vi } from "vitest"
import { bySchema, byType } from "../../../src/internal/sqlWarehouse/rows.ts"
import { areEqual, Parts, written } from "../../fixtures/numbers.ts"

/** A column x of this type with this text, decoded by a Schema. */
const read = <S extends Schema.Constraint & { readonly DecodingServices: never }>(
  type_text: string,
  text: string | null,
  schema: S
): Result.Result<S["Type"], string> => {
  const decode = bySchema(Schema.Struct({ x: schema }))([{ name: "x", type_text, type_name: "" }])
  return Effect.runSync(
    Effect.result(
      Effect.mapBoth(decode([[text]], 0), {
        onSuccess: ([row]) => (row as { readonly x: S["Type"] }).x,
        onFailure: ({ column, message }) => {
          assert.strictEqual(column, "x")
          return message
        }
      })
    )
  )
}

const value = (type: string, text: string | null, schema: Schema.Codec<unknown, unknown>) =>
  Result.getOrThrowWith(read(type, text, schema), (message) => new Error(message))

const problem = (type: string, text: string | null, schema: Schema.Codec<unknown, unknown>) => {
  const result = read(type, text, schema)
  return Result.isFailure(result) ? result.failure : assert.fail(`${type} took ${text}`)
}

const { Number: Numeric } = Schema

const lost =
  "the number has digits that a JavaScript number would lose: use Schema.BigInt, Schema.BigDecimal or Schema.String"

describe("rows.bySchema of numbers", () => {
  it("refuses a DECIMAL or BIGINT by Schema.Number where a number has other digits, and names the column", () => {
    for (const [type, text] of [
      ["DECIMAL(20,2)", "12345678901234567.89"],
      ["DECIMAL(38,18)", "0.100000000000000001"],
      ["DECIMAL(38,20)", "-0.10000000000000000001"],
      ["DECIMAL(18,0)", "9007199254740993"],
      ["DECIMAL(20,2)", "9007199254740993.00"],
      ["DECIMAL(20,3)", "9007199254740.9931"],
      ["BIGINT", "9007199254740993"],
      ["BIGINT", "-9223372036854775808"]
    ] as const) {
      assert.strictEqual(
        problem(type, text, Numeric),
        `Row 1, column "x" (${type}) does not match the Schema: ${lost}`,
        text
      )
      assert.strictEqual(value(type, text, Schema.String), text)
    }
  })

  it("decodes numbers that are exact by Schema.Number: zeros at the end, exponents and negative zero included", () => {
    for (const [type, text, number] of [
      ["DECIMAL(20,2)", "1234567890123.40", 1234567890123.4],
      ["DECIMAL(38,18)", "0.100000000000000000", 0.1],
      ["DECIMAL(38,18)", "0E-18", 0],
      ["DECIMAL(38,18)", "1E-18", 1e-18],
      ["DECIMAL(5,2)", "-0.00", 0],
      ["DECIMAL(16,0)", "9007199254740991", 9007199254740991],
      ["BIGINT", "-9007199254740991", -9007199254740991],
      ["DOUBLE", "1.0E300", 1e300],
      ["DOUBLE", "4.9E-324", 5e-324],
      ["DOUBLE", "9007199254740992.0", 2 ** 53],
      ["DOUBLE", "-0.0", -0],
      ["DOUBLE", "NaN", Number.NaN],
      ["FLOAT", "-Infinity", -Infinity],
      ["FLOAT", "0.1", 0.1],
      ["FLOAT", "1.17549435E-38", 1.17549435e-38]
    ] as const) {
      assert.isTrue(Object.is(value(type, text, Numeric), number), `${type} ${text}`)
    }
  })

  it.prop(
    "decodes any DECIMAL by Schema.Number to the same digits or refuses it, by itself and in ARRAY, STRUCT and MAP",
    { parts: Parts },
    ({ parts }) => {
      const text = written(parts)
      const own = read("DECIMAL(38,18)", text, Numeric)
      if (Result.isSuccess(own)) assert.isTrue(areEqual(String(own.success), text), text)
      else assert.include(own.failure, lost)
      for (const quoted of [text, `"${text}"`]) {
        for (const [type, json, schema] of [
          ["ARRAY<DECIMAL(38,18)>", `[null,${quoted}]`, Schema.Array(Schema.NullOr(Numeric))],
          ["STRUCT<a: DECIMAL(38,18)>", `{"a":${quoted}}`, Schema.Struct({ a: Numeric })],
          ["MAP<STRING, DECIMAL(38,18)>", `{"k":${quoted}}`, Schema.Record(Schema.String, Numeric)],
          ["VARIANT", `{"a":[${text}]}`, Schema.Struct({ a: Schema.Array(Numeric) })]
        ] as const) {
          const within = read(type, json, schema as Schema.Codec<unknown, unknown>)
          if (type === "VARIANT" && Object.is(Number(text), -0)) continue
          assert.strictEqual(within._tag, own._tag, `${type} ${json}`)
          if (Result.isFailure(within)) assert.include(within.failure, lost)
        }
      }
    }
  )
})

describe("rows.bySchema of nested values", () => {
  it("decodes BIGINT and DECIMAL in ARRAY, STRUCT and MAP by Number, BigInt, BigDecimal and String", () => {
    const type = "STRUCT<id: BIGINT, prices: ARRAY<DECIMAL(20,2)>>"
    const json = '{"id": 17, "prices": [12.50, "3.00", null]}'
    const Nullable = <S extends Schema.Constraint>(schema: S) => Schema.Array(Schema.NullOr(schema))
    assert.deepStrictEqual(value(type, json, Schema.Struct({ id: Numeric, prices: Nullable(Numeric) })), {
      id: 17,
      prices: [12.5, 3, null]
    })
    assert.deepStrictEqual(value(type, json, Schema.Struct({ id: Schema.Int, prices: Nullable(Schema.String) })), {
      id: 17,
      prices: ["12.50", "3.00", null]
    })
    assert.deepStrictEqual(
      value(type, json, Schema.Struct({ id: Schema.BigInt, prices: Nullable(Schema.BigDecimal) })),
      {
        id: 17n,
        prices: [BigDecimal.make(1250n, 2), BigDecimal.make(300n, 2), null]
      }
    )
    const unsafe = '{"id": 9007199254740993, "prices": null}'
    const Row = Schema.Struct({ id: Schema.BigInt, prices: Schema.Null })
    assert.deepStrictEqual(value(type, unsafe, Row), { id: 9007199254740993n, prices: null })
    assert.strictEqual(
      problem(type, unsafe, Schema.Struct({ id: Numeric, prices: Schema.Null })),
      `Row 1, column "x" (${type}) at id does not match the Schema: ${lost}`
    )
  })

  it("decodes a MAP by Schema.Record, and by Schema.ReadonlyMap", () => {
    const counts = '{"a": 1, "__proto__": 2}'
    const record = Object.fromEntries([
      ["a", 1],
      ["__proto__", 2]
    ])
    for (const type of ["INT", "BIGINT", "DECIMAL(10,2)", "DOUBLE"]) {
      assert.deepStrictEqual(value(`MAP<STRING, ${type}>`, counts, Schema.Record(Schema.String, Numeric)), record)
    }
    for (const json of ['{"1": "x", "2": null}', '[{"key":1,"value":"x"},{"key":2}]', '[["1","x"],["2",null]]']) {
      const Text = Schema.NullOr(Schema.String)
      assert.deepStrictEqual(value("MAP<BIGINT, STRING>", json, Schema.Record(Schema.String, Text)), {
        1: "x",
        2: null
      })
      assert.deepStrictEqual(
        value("MAP<BIGINT, STRING>", json, Schema.ReadonlyMap(Schema.BigInt, Text)),
        new Map([
          [1n, "x"],
          [2n, null]
        ])
      )
    }
    assert.deepStrictEqual(
      value(
        "MAP<STRING, STRUCT<n: BIGINT>>",
        '{"a":{"n":5}}',
        Schema.Record(Schema.String, Schema.Struct({ n: Schema.BigInt }))
      ),
      { a: { n: 5n } }
    )
  })

  it("refuses a MAP whose keys are not text by Schema.Record", () => {
    const type = "MAP<STRUCT<a: INT>, INT>"
    problem(type, '[{"key":{"a":1},"value":1}]', Schema.Record(Schema.String, Numeric))
    assert.include(problem(type, "[1]", Schema.Record(Schema.String, Numeric)), "Expected object")
  })

  it("decodes VARIANT exactly: integers, decimals and text", () => {
    const json = '{"id": 9007199254740993, "n": 1.50, "d": 0.12345678901234567891, "s": "x", "e": 1e3}'
    const Row = Schema.Struct({
      id: Schema.BigInt,
      n: Schema.Union([Numeric, Schema.String]),
      d: Schema.BigDecimal,
      s: Schema.String,
      e: Schema.String
    })
    assert.deepStrictEqual(value("VARIANT", json, Row), {
      id: 9007199254740993n,
      n: 1.5,
      d: BigDecimal.fromStringUnsafe("0.12345678901234567891"),
      s: "x",
      e: "1000"
    })
    assert.strictEqual(value("VARIANT", json, Schema.String), json)
  })

  it("decodes a VARIANT that is a number, a boolean or a word by Schemas of these, and keeps it as JSON by Schema.String", () => {
    for (const [json, schema, expected] of [
      ["5", Numeric, 5],
      ["1.50", Schema.NullOr(Schema.Finite), 1.5],
      ["true", Schema.Boolean, true],
      ['"on"', Schema.Literals(["on", "off"]), "on"],
      ["2", Schema.Union([Numeric, Schema.Boolean]), 2],
      ['"on"', Schema.String, '"on"'],
      ["9007199254740993", Schema.BigInt, 9007199254740993n]
    ] as const) {
      assert.strictEqual(value("VARIANT", json, schema as Schema.Codec<unknown, unknown>), expected, json)
    }
    assert.include(problem("VARIANT", "9007199254740993", Numeric), lost)
  })

  it("keeps the text of nested values that a Schema takes as text, with the digits below milliseconds", () => {
    const type = "STRUCT<at: TIMESTAMP, day: DATE, ok: BOOLEAN, n: INT, b: BINARY>"
    const json = '{"at":"2026-01-31T12:00:00.123456Z","day":"2026-01-31","ok":true,"n":1,"b":"aGk="}'
    const { String: Text } = Schema
    assert.deepStrictEqual(value(type, json, Schema.Struct({ at: Text, day: Text, ok: Text, n: Text, b: Text })), {
      at: "2026-01-31T12:00:00.123456Z",
      day: "2026-01-31",
      ok: "true",
      n: "1",
      b: "aGk="
    })
  })
})

describe("rows.bySchema of moments", () => {
  afterAll(() => void vi.unstubAllEnvs())

  it("reads TIMESTAMP_NTZ, DATE and text without a zone as UTC, in every time zone of the process", () => {
    const noon = '"2026-01-31 23:30:00"'
    for (const zone of ["America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "UTC"]) {
      vi.stubEnv("TZ", zone)
      const elsewhere = new Date("2026-01-31T23:30").toISOString() !== "2026-01-31T23:30:00.000Z"
      assert.strictEqual(elsewhere, zone !== "UTC", "the process is in this time zone")
      for (const [type, text, iso] of [
        ["TIMESTAMP_NTZ", "2026-01-31T23:30:00.000", "2026-01-31T23:30:00.000Z"],
        ["TIMESTAMP_NTZ", "2026-01-31 23:30:00.123456", "2026-01-31T23:30:00.123Z"],
        ["TIMESTAMP_NTZ", "2026-03-08 02:30:00", "2026-03-08T02:30:00.000Z"],
        ["TIMESTAMP_NTZ", "0044-03-15 00:00:00", "0044-03-15T00:00:00.000Z"],
        ["TIMESTAMP_NTZ", "+10000-01-01 00:00:00", "+010000-01-01T00:00:00.000Z"],
        ["DATE", "2026-01-31", "2026-01-31T00:00:00.000Z"],
        ["DATE", "+10000-01-01", "+010000-01-01T00:00:00.000Z"],
        ["DATE", "-0043-03-15", "-000043-03-15T00:00:00.000Z"],
        ["TIMESTAMP", "2026-01-31T23:30:00.000Z", "2026-01-31T23:30:00.000Z"],
        ["TIMESTAMP", "2026-01-31 23:30:00-05:00", "2026-02-01T04:30:00.000Z"],
        ["STRING", "2026-01-31 23:30", "2026-01-31T23:30:00.000Z"],
        ["STRING", "Sat, 31 Jan 2026 23:30:00 GMT", "2026-01-31T23:30:00.000Z"],
        ["STRING", "2026-01-31 23:30:00+01", "2026-01-31T22:30:00.000Z"],
        ["STRING", "2026-01-31T23:30:00+0100", "2026-01-31T22:30:00.000Z"]
      ] as const) {
        const date = new Date(iso)
        assert.deepStrictEqual(value(type, text, Schema.Date), date, `${zone} ${text}`)
        assert.deepStrictEqual(value(type, text, Schema.NullOr(Schema.DateFromString)), date, `${zone} ${text}`)
        assert.deepStrictEqual(value(type, text, Schema.DateTimeUtc), DateTime.makeUnsafe(date), `${zone} ${text}`)
        assert.strictEqual(value(type, text, Schema.String), text)
      }
      const date = new Date("2026-01-31T23:30Z")
      assert.deepStrictEqual(value("ARRAY<TIMESTAMP_NTZ>", `[${noon}]`, Schema.Array(Schema.Date)), [date])
      const At = Schema.Struct({ at: Schema.Date })
      assert.deepStrictEqual(value("STRUCT<at: TIMESTAMP_NTZ>", `{"at":${noon}}`, At), { at: date })
      assert.deepStrictEqual(value("VARIANT", `{"at":${noon}}`, At), { at: date })
      const Named = Schema.Record(Schema.String, Schema.Date)
      assert.deepStrictEqual(value("MAP<STRING, TIMESTAMP_NTZ>", `{"a":${noon}}`, Named), { a: date })
    }
  })

  it("refuses a moment that a Date does not hold", () => {
    assert.include(problem("TIMESTAMP", "+294247-01-10T04:00:54.775807Z", Schema.Date), "a valid Date")
    assert.include(problem("STRING", "a secret", Schema.Date), "a valid Date")
  })
})

describe("rows.bySchema", () => {
  it("says why a value is refused, with its column and type and without the value", () => {
    for (const [type, text, schema, message] of [
      ["STRING", "abc", Numeric, "the value is text and not a number"],
      ["STRING", "", Schema.Int, "the value is text and not a number"],
      ["STRING", "12", Schema.Finite, "the value is text and not a number"],
      ["STRING", "abc", Schema.NullOr(Numeric), "the value is text and not a number"],
      ["INT", null, Numeric, "null is not a number: use Schema.NullOr"],
      ["STRING", null, Schema.String, "Expected string"],
      ["DOUBLE", "1.5", Schema.Int, "Expected an integer"],
      ["STRING", "abc", Schema.BigInt, "Expected a string representing a bigint"]
    ] as const) {
      assert.strictEqual(
        problem(type, text, schema),
        `Row 1, column "x" (${type}) does not match the Schema: ${message}`,
        `${type} ${text}`
      )
    }
  })

  it("never decodes an empty text as a number", () => {
    for (const type of ["INT", "BIGINT", "DOUBLE", "DECIMAL(3,1)"]) {
      assert.include(problem(type, "", Numeric), "the value is text and not a number")
    }
  })
})

describe("rows.byType", () => {
  it("decodes days and moments before year 0 and beyond year 9999", () => {
    const columns = [
      { name: "day", type_text: "DATE", type_name: "DATE" },
      { name: "at", type_text: "TIMESTAMP", type_name: "TIMESTAMP" },
      { name: "local", type_text: "TIMESTAMP_NTZ", type_name: "TIMESTAMP_NTZ" },
      { name: "days", type_text: "ARRAY<DATE>", type_name: "ARRAY" }
    ]
    const rows = [
      ["+10000-01-01", "+10000-01-01T00:00:00.5Z", "+10000-01-01 00:00:00", '["-0043-03-15"]'],
      ["10000-01-01", "-0043-03-15 12:00:00+01:00", "-0043-03-15T12:00:00", '["+275760-09-13"]'],
      ["0001-01-01", "0001-01-01T00:00:00Z", "0000-12-31T00:00:00", "[]"]
    ]
    const at = (iso: string) => DateTime.makeUnsafe(new Date(iso))
    assert.deepStrictEqual(Effect.runSync(byType()(columns)(rows, 0)), [
      {
        day: "+10000-01-01",
        at: at("+010000-01-01T00:00:00.500Z"),
        local: "+10000-01-01T00:00:00",
        days: ["-0043-03-15"]
      },
      {
        day: "10000-01-01",
        at: at("-000043-03-15T11:00:00.000Z"),
        local: "-0043-03-15T12:00:00",
        days: ["+275760-09-13"]
      },
      { day: "0001-01-01", at: at("0001-01-01T00:00:00.000Z"), local: "0000-12-31T00:00:00", days: [] }
    ])
  })

  it("decodes a VARIANT's numbers exactly: as numbers, else as bigint and BigDecimal", () => {
    const json =
      '{"a":[1, 1.5, 9007199254740993, 0.12345678901234567891, 1e21, 12345678901234567.89, 1121234567890123457e2, -1e400]}'
    const columns = [{ name: "x", type_text: "VARIANT", type_name: "VARIANT" }]
    assert.deepStrictEqual(Effect.runSync(byType()(columns)([[json]], 0)), [
      {
        x: {
          a: [
            1,
            1.5,
            9007199254740993n,
            BigDecimal.fromStringUnsafe("0.12345678901234567891"),
            1e21,
            BigDecimal.fromStringUnsafe("12345678901234567.89"),
            112123456789012345700n,
            -(10n ** 400n)
          ]
        }
      }
    ])
  })
})
