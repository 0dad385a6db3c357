import { assert, layer } from "@effect/vitest"
import { SqlParameter, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { BigDecimal, DateTime, Effect, Exit, Schema } from "effect"
import { Live } from "./fixtures/sqlWarehouse.ts"

const formats = { JSON_ARRAY: "standard", ARROW_STREAM: "arrow" } as const

const workspace = LocalWorkspace.layer({ warehouses: Object.values(formats).map((kind) => ({ name: kind, kind })) })

const warehouseOf = (kind: string) =>
  LocalWorkspace.LocalWorkspace.useSync(({ warehouses }) => ({
    warehouseId: warehouses.find(({ name }) => name === kind)!.id
  }))

const { Array: List, NullOr, Struct } = Schema

const Values = Struct({
  big: Schema.BigInt,
  scale: Schema.Literals([1, 2, 10, 18]),
  rough: Schema.Number,
  seconds: Schema.Int,
  micros: Schema.Int,
  text: Schema.String,
  bytes: Schema.Uint8Array,
  flag: Schema.Boolean
})

/** A value of each type, as its text. */
const textsOf = ({ big, bytes, flag, micros, rough, scale, seconds, text }: typeof Values.Type) => {
  const digits = String(BigInt.asUintN(100, big)).padStart(scale + 1, "0")
  // From the year 1 to the year 9999.
  const moment = new Date(-62_135_596_800_000 + (Math.abs(seconds) % 315_537_897_600) * 1000).toISOString()
  const second = moment.slice(0, -".000Z".length)
  const fraction = String(Math.abs(micros) % 1_000_000).padStart(6, "0")
  return {
    big: String(BigInt.asIntN(64, big)),
    price: `${seconds < 0 ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`,
    rough,
    rougher: Math.fround(rough),
    day: moment.slice(0, 10),
    at: `${second}.${fraction}Z`,
    local: `${second}.${fraction}`,
    // Postgres has no text with these.
    word: text.toWellFormed().replaceAll("\0", ""),
    bytes,
    flag
  }
}

const same = (a: string, b: string) => BigDecimal.equals(BigDecimal.fromStringUnsafe(a), BigDecimal.fromStringUnsafe(b))

layer(workspace, { timeout: "60 seconds", excludeTestServices: true })("SqlWarehouse", (it) => {
  it.layer(Live)("values", (it) => {
    for (const [format, kind] of Object.entries(formats)) {
      const query = <S extends Schema.Constraint>(schema: S, v: ReturnType<typeof textsOf>) =>
        Effect.flatMap(
          warehouseOf(kind),
          (on) => SqlWarehouse.query(schema, on)`SELECT ${SqlParameter.bigint(BigInt(v.big))} AS big,
            ${SqlParameter.decimal(v.price)} AS price, ${SqlParameter.double(v.rough)} AS rough,
            ${SqlParameter.float(v.rougher)} AS rougher, ${SqlParameter.date(v.day)} AS day,
            ${SqlParameter.timestamp(v.at)} AS at, ${SqlParameter.timestampNtz(v.local)} AS local, ${v.word} AS word,
            decode(${SqlParameter.binary(v.bytes)}, 'hex') AS bytes, ${v.flag} AS flag,
            ARRAY[${SqlParameter.bigint(BigInt(v.big))}, NULL] AS bigs, ARRAY[${SqlParameter.decimal(v.price)}] AS prices`
        )

      it.effect.prop(
        `return a bound parameter unchanged, by types and by Schemas (${format})`,
        { values: Values },
        ({ values }) =>
          Effect.gen(function* () {
            const v = textsOf(values)
            const big = BigInt(v.big)
            const millis = `${v.local.slice(0, -3)}Z`

            const [exact] = yield* query(
              Struct({
                big: Schema.BigInt,
                price: Schema.BigDecimal,
                rough: Schema.Number,
                rougher: Schema.Number,
                day: Schema.Date,
                at: Schema.String,
                local: Schema.Date,
                word: Schema.String,
                bytes: Schema.Uint8Array,
                flag: Schema.Boolean,
                bigs: List(NullOr(Schema.BigInt)),
                prices: List(Schema.BigDecimal)
              }),
              v
            )
            const { at, price, prices, rougher, ...others } = exact!
            assert.isTrue(same(BigDecimal.format(price), v.price))
            assert.isTrue(same(BigDecimal.format(prices[0]!), v.price))
            assert.isTrue(Object.is(Math.fround(rougher), v.rougher), `${rougher} for ${v.rougher}`)
            assert.strictEqual(`${at.slice(0, -1).padEnd(v.local.length, "0")}Z`, v.at)
            assert.deepStrictEqual(others, {
              big,
              rough: v.rough,
              day: new Date(v.day),
              local: new Date(millis),
              word: v.word,
              bytes: v.bytes,
              flag: v.flag,
              bigs: [big, null]
            })

            const untyped = yield* Effect.flatMap(
              warehouseOf(kind),
              (on) =>
                SqlWarehouse.query(
                  on
                )`SELECT ${SqlParameter.bigint(big)} AS big, ${SqlParameter.decimal(v.price)} AS price,
                  ${SqlParameter.date(v.day)} AS day, ${SqlParameter.timestamp(v.at)} AS at, ARRAY[${SqlParameter.bigint(big)}] AS bigs`
            )
            const { price: untypedPrice, ...row } = untyped[0]!
            assert.isTrue(BigDecimal.isBigDecimal(untypedPrice) && same(BigDecimal.format(untypedPrice), v.price))
            assert.deepStrictEqual(row, { big, day: v.day, at: DateTime.makeUnsafe(new Date(millis)), bigs: [big] })

            for (const [column, schema, text] of [
              ["big", Schema.Number, v.big],
              ["price", Schema.Number, v.price],
              ["bigs", List(NullOr(Schema.Number)), v.big],
              ["prices", List(Schema.Number), v.price]
            ] as const) {
              const exit = yield* Effect.exit(query(Struct({ [column]: schema as Schema.Codec<unknown> }), v))
              if (Exit.isSuccess(exit)) {
                assert.isTrue(same(String([Object.values(exit.value[0]!)[0]].flat()[0]), text), `${column} ${text}`)
              } else {
                const error = yield* Effect.flip(exit)
                assert.include(error, { _tag: "RowDecodeError", column })
                assert.include(error.message, "digits that a JavaScript number would lose")
              }
            }
          }),
        { arbitrary: { runs: 25 } }
      )

      it.effect(
        `has days and moments before year 1 and beyond year 9999, by types and by Schema.Date (${format})`,
        () =>
          Effect.gen(function* () {
            const on = yield* warehouseOf(kind)
            const text = `SELECT date '10000-01-01' AS late, date '0044-03-15 BC' AS early, timestamptz '12345-01-01 00:00:00Z' AS at,
            timestamp '0044-03-15 12:00:00 BC' AS local, ARRAY[date '20000-02-29'] AS days`
            assert.deepStrictEqual(yield* SqlWarehouse.queryText(on)(text), [
              {
                late: "+10000-01-01",
                early: "-0043-03-15",
                at: DateTime.makeUnsafe(new Date("+012345-01-01T00:00:00Z")),
                local: "-0043-03-15T12:00:00.000",
                days: ["+20000-02-29"]
              }
            ])
            const { Date: Moment } = Schema
            const Row = Struct({ late: Moment, early: Moment, at: Moment, local: Moment, days: List(Moment) })
            assert.deepStrictEqual(yield* SqlWarehouse.queryText(Row, on)(text), [
              {
                late: new Date("+010000-01-01"),
                early: new Date("-000043-03-15"),
                at: new Date("+012345-01-01T00:00:00Z"),
                local: new Date("-000043-03-15T12:00:00Z"),
                days: [new Date("+020000-02-29")]
              }
            ])
          })
      )
    }
  })
})
