import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schema } from "effect"
import { ForwardedHeaders } from "effect-databricks"

const names = ["x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-access-token"]

// One of each kind that is told apart, and those at their edges.
const Character = Schema.Literals([
  ..." !,-~aZ09@",
  "\0",
  "\t",
  "\n",
  "\r",
  "\x1f",
  "\x7f",
  "\x80",
  "é",
  "Ａ",
  "\ud83d"
])

const Text = Schema.Array(Character).check(Schema.isMaxLength(6))

const Fine = Schema.Struct({ one: Schema.Tuple([Schema.Literals(["a.b-c", "alice@example.com", "~!"])]) })

// Each member is as likely as any other.
const Value = Schema.Union([
  Fine,
  Fine,
  Fine,
  Fine,
  Schema.Struct({ one: Text }),
  Schema.Struct({ long: Character, length: Schema.Literals([16_383, 16_384, 16_385, 100_000]) }),
  Schema.Struct({ several: Schema.Array(Text).check(Schema.isMaxLength(3)) }),
  Schema.Null
])

const asHeader = (value: typeof Value.Type): string | ReadonlyArray<string> | null =>
  value === null
    ? null
    : "one" in value
      ? value.one.join("")
      : "several" in value
        ? value.several.map((_) => _.join(""))
        : value.long.repeat(value.length)

/** The result for a header by the rules: absent, a value or refused. */
const said = (name: string, header: string | ReadonlyArray<string> | null) => {
  const value = Array.isArray(header) ? (header.length < 2 ? (header[0] ?? "") : undefined) : (header ?? "")
  const isRefused =
    value === undefined ||
    value.length > 16_384 ||
    [...value].some((_) => _ === "," || _ < " " || _ === "\x7f") ||
    (name.endsWith("token") && value.trim() !== "" && [...value].some((_) => _ < "!" || _ > "~"))
  if (isRefused) return name.endsWith("username") ? undefined : "refused"
  return value.trim() === "" ? undefined : { value }
}

describe("ForwardedHeaders.decode", () => {
  it.effect.prop(
    "accepts exactly the values that its rules allow, unchanged",
    { values: Schema.Tuple([Value, Value, Value, Value]), reach: Schema.Literals(["request", "record", "getter"]) },
    ({ reach, values }) =>
      Effect.gen(function* () {
        const headers = values.map(asHeader)
        const record = Object.fromEntries(names.map((name, i) => [name, headers[i]]))
        // No type allows all of it.
        const source = { request: { headers: record }, record, getter: { get: (_: string) => record[_] } }[reach]
        const exit = yield* Effect.result(ForwardedHeaders.decode(source as ForwardedHeaders.Source))
        const expected = names.map((name, i) =>
          // An array from a getter is refused, even an array of one.
          said(name, reach === "getter" && Array.isArray(headers[i]) ? ["", ""] : headers[i]!)
        )
        if (exit._tag === "Failure") {
          assert.include(expected, "refused")
          assert.strictEqual(exit.failure._tag, "AuthenticationError")
          assert.isBelow(exit.failure.message.length, 200)
          return
        }
        const { accessToken, email, preferredUsername, user } = exit.success
        const decoded = [user, email, preferredUsername, accessToken && Redacted.value(accessToken)]
        assert.deepStrictEqual(
          decoded.map((value) => (value === undefined ? undefined : { value })),
          expected
        )
      })
  )

  it.effect("accepts or rejects each character up to U+0120 by its rules", () =>
    Effect.gen(function* () {
      for (const name of names) {
        for (let code = 0; code <= 0x120; code++) {
          const value = `a${String.fromCharCode(code)}b`
          const exit = yield* Effect.result(ForwardedHeaders.decode({ [name]: value }))
          assert.strictEqual(exit._tag === "Failure", said(name, value) === "refused", `${name} ${code}`)
        }
      }
    })
  )
})
