import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { SqlParameter } from "effect-databricks"

const bound = (input: SqlParameter.Input) =>
  Result.map(SqlParameter.bind({ x: input }), ([parameter]) => [parameter?.type, parameter?.value])

const integers = { tinyint: 8n, smallint: 16n, int: 32n, bigint: 64n } as const

// Callers without types can give anything.
const takes = (type: keyof typeof SqlParameter, value: unknown) =>
  Result.isSuccess(bound((SqlParameter[type] as (value: unknown) => SqlParameter.SqlParameter)(value)))

describe("SqlParameter", () => {
  for (const [name, bits] of Object.entries(integers) as Array<[keyof typeof integers, bigint]>) {
    it.prop(
      `binds ${name} values of up to ${bits} bits, and refuses larger ones`,
      { n: Schema.BigInt, far: Schema.Boolean },
      ({ far, n }) => {
        const limit = 2n ** (bits - 1n)
        const within = BigInt.asIntN(Number(bits), n)
        for (const value of [within, limit - 1n, -limit]) {
          assert.deepStrictEqual(bound(SqlParameter[name](value)), Result.succeed([name.toUpperCase(), String(value)]))
        }
        const beyond = far ? limit + BigInt.asUintN(80, n) : -limit - 1n - BigInt.asUintN(80, n)
        assert.isFalse(takes(name, beyond))
      }
    )
  }

  it.prop("binds float and double as the text of the number", { n: Schema.Number }, ({ n }) => {
    assert.deepStrictEqual(bound(SqlParameter.float(n)), Result.succeed(["FLOAT", Object.is(n, -0) ? "-0" : String(n)]))
    assert.deepStrictEqual(
      bound(SqlParameter.double(n)),
      Result.succeed(["DOUBLE", Object.is(n, -0) ? "-0" : String(n)])
    )
  })

  it.prop(
    "binds a decimal with all of its digits",
    { n: Schema.BigInt, scale: Schema.Literals([1, 5, 18]) },
    ({ n, scale }) => {
      const digits = String(BigInt.asUintN(63, n)).padStart(scale + 1, "0")
      const text = `-${digits.slice(0, -scale)}.${digits.slice(-scale)}`
      assert.strictEqual(Result.getOrThrow(bound(SqlParameter.decimal(text)))[1], text)
    }
  )

  it.prop("binds timestamps and dates as ISO text, and timestampNtz without a zone", { at: Schema.Int }, ({ at }) => {
    const moment = new Date(Math.abs(at) % 253_402_300_800_000)
    const iso = moment.toISOString()
    assert.deepStrictEqual(bound(SqlParameter.timestamp(moment)), Result.succeed(["TIMESTAMP", iso]))
    assert.deepStrictEqual(bound(SqlParameter.timestamp(iso)), Result.succeed(["TIMESTAMP", iso]))
    assert.deepStrictEqual(bound(SqlParameter.date(iso.slice(0, 10))), Result.succeed(["DATE", iso.slice(0, 10)]))
    const local = iso.slice(0, -1)
    assert.deepStrictEqual(bound(SqlParameter.timestampNtz(local)), Result.succeed(["TIMESTAMP_NTZ", local]))
    for (const zone of ["Z", "+02:00"]) assert.isFalse(takes("timestampNtz", local + zone))
  })

  it.prop("binds bytes as hexadecimal text", { bytes: Schema.Uint8Array }, ({ bytes }) => {
    const hex = Buffer.from(bytes).toString("hex")
    assert.deepStrictEqual(bound(SqlParameter.binary(bytes)), Result.succeed(["STRING", hex]))
  })

  it.prop("binds strings and booleans unchanged", { text: Schema.String, b: Schema.Boolean }, ({ b, text }) => {
    assert.deepStrictEqual(bound(SqlParameter.string(text)), Result.succeed(["STRING", text]))
    assert.deepStrictEqual(bound(SqlParameter.boolean(b)), Result.succeed(["BOOLEAN", String(b)]))
  })

  const constructors = {
    tinyint: "TINYINT",
    smallint: "SMALLINT",
    int: "INT",
    bigint: "BIGINT",
    float: "FLOAT",
    double: "DOUBLE",
    decimal: "DECIMAL(1,0)",
    string: "STRING",
    boolean: "BOOLEAN",
    binary: "STRING",
    date: "DATE",
    timestamp: "TIMESTAMP",
    timestampNtz: "TIMESTAMP_NTZ"
  } as const
  const names = Object.keys(constructors) as Array<keyof typeof constructors>

  it("binds NULL with every type, and without a type", () => {
    for (const name of names) {
      assert.deepStrictEqual(bound(SqlParameter[name](null)), Result.succeed([constructors[name], null]))
    }
    assert.deepStrictEqual(bound(SqlParameter.null), Result.succeed([undefined, null]))
  })

  it.prop(
    "refuses a value of another type, and never throws",
    { value: Schema.Union([Schema.Unknown, Schema.Symbol, Schema.Struct({ toString: Schema.Unknown })]) },
    ({ value }) => {
      if (value === null) return
      const fits = { string: "string", boolean: "boolean", float: "number", double: "number" } as const
      for (const name of names) {
        const taken = takes(name, value)
        if (name in fits) assert.strictEqual(taken, typeof value === fits[name as keyof typeof fits], name)
        else if (typeof value === "object" && !(value instanceof Uint8Array) && !(value instanceof Date))
          assert.isFalse(taken, name)
      }
    }
  )
})
