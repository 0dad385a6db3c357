import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { withoutBound, withoutRecords, withoutValues } from "../../../src/internal/failures/values.ts"

describe("withoutValues", () => {
  it.each([
    [`invalid input syntax for type integer: "bob@x"`, "invalid input syntax for type integer"],
    [`value "99999999999" is out of range for type integer`, "value … is out of range for type integer"],
    [`invalid input syntax for type integer: "a "quoted" word"`, "invalid input syntax for type integer"],
    ["value too long for type character varying(3)", "value too long for type character varying(3)"],
    [`invalid byte sequence for encoding "UTF8": 0xc3 0x28`, "invalid byte sequence for encoding …: … …"],
    [
      `[CAST_INVALID_INPUT] The value 'bob''s' of the type "STRING" cannot be cast to "INT". SQLSTATE: 22018`,
      "[CAST_INVALID_INPUT] The value … of the type …. SQLSTATE: 22018"
    ],
    [
      `[NUMERIC_VALUE_OUT_OF_RANGE] -123456.78 cannot be represented as Decimal(5, 2).`,
      "[NUMERIC_VALUE_OUT_OF_RANGE] … cannot be represented as Decimal(5, 2)."
    ],
    [`The value 128S of the type cannot be cast`, "The value … of the type cannot be cast"]
  ])("makes %s into %s", (message, expected) => assert.strictEqual(withoutValues(message), expected))
})

describe("withoutRecords", () => {
  it.each([
    [
      "[DELTA_VIOLATE_CONSTRAINT_WITH_VALUES] CHECK constraint adult (age > 17) violated by row with values:\n - age : 5\n - email : bob@x SQLSTATE: 23001",
      "[DELTA_VIOLATE_CONSTRAINT_WITH_VALUES] CHECK constraint adult (age > 17) violated by row with values: … SQLSTATE: 23001"
    ],
    [
      "[MALFORMED_RECORD_IN_PARSING] Malformed records are detected in record parsing: [bob@x,5].\nParse Mode: FAILFAST. SQLSTATE: 22023",
      "[MALFORMED_RECORD_IN_PARSING] Malformed records are detected in record parsing: …\nParse Mode: FAILFAST. SQLSTATE: 22023"
    ],
    ["[INVALID_URL] The url is invalid: http://bob@x", "[INVALID_URL] The url is invalid: …"],
    [
      "[PARSE_SYNTAX_ERROR] Syntax error at 'a': b. SQLSTATE: 42601",
      "[PARSE_SYNTAX_ERROR] Syntax error at 'a': b. SQLSTATE: 42601"
    ]
  ])("makes %s into %s", (message, expected) => assert.strictEqual(withoutRecords(message), expected))
})

describe("withoutBound", () => {
  it.each([
    ["a name in another case", `relation "secret" does not exist`, ["Secret"], 'relation "…" does not exist'],
    [
      "the part of a name before its dot",
      `schema "secret" does not exist`,
      ["secret.orders"],
      'schema "…" does not exist'
    ],
    [
      "a name that Postgres cut to 63 bytes",
      `relation "${"x".repeat(63)}" does not exist`,
      ["x".repeat(100)],
      'relation "…" does not exist'
    ],
    ["a number", "no such order: 4711, sorry", [4711], "no such order: …, sorry"],
    [
      "not a part of a value that has three letters",
      `column "id" does not exist`,
      ["david"],
      `column "id" does not exist`
    ],
    ["a value in a list of lists", "no such order: bob@x", [[["a"], ["bob@x", null]]], "no such order: …"],
    ["a value in JSON", "no such order: bob@x, 4711", [{ a: { b: ["bob@x"] }, c: 4711 }], "no such order: …, …"],
    [
      "a date and its time",
      "no order at 2031-01-31 23:30:00+00",
      [new Date("2031-01-31T23:30:00.000Z"), new Date(Number.NaN)],
      "no order at … …+00"
    ],
    ["bytes", "no such key: \\xdeadbeef", [new Uint8Array([0xde, 0xad, 0xbe, 0xef])], "no such key: …"],
    ["a value that is a pattern", "no a(b) here", ["a(b)"], "no … here"],
    ["not a part of a longer word", "order_items is locked", ["order"], "order_items is locked"],
    ["a value too long for a pattern", `it says ${"y".repeat(2_000)}.`, ["y".repeat(2_000)], "it says …."],
    ["a value longer than the message", "nothing", ["z".repeat(20_000_000), "", null, {}], "nothing"]
  ])("takes %s out of a message", (_, message, values, expected) =>
    assert.strictEqual(withoutBound(message, values), expected)
  )

  it.prop(
    "leaves no value of four characters or more, whatever it is",
    { value: Schema.String.check(Schema.isMinLength(4)), other: Schema.String },
    ({ other, value }) => {
      const said = withoutBound(`no "${value}" here, nor ${value}: `, [other, value])
      if (/\w/.test(value)) assert.notInclude(said, value)
    }
  )
})
