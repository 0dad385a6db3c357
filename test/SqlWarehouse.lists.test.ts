import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Result, Schema, Stream } from "effect"
import { HttpFailure, SqlParameter, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { expand } from "../src/internal/sqlWarehouse/lists.ts"
import { Live, recording, start } from "./fixtures/sqlWarehouse.ts"

const { list } = SqlParameter
const Id = Schema.Struct({ id: Schema.Int })
const idsOf = Effect.map((rows: ReadonlyArray<typeof Id.Type>) => rows.map(({ id }) => id))

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("SqlParameter.list", (it) => {
  it.layer(Live)("in a statement", (it) => {
    it.effect("selects exactly the rows whose value is in it, and NOT IN all others, also if it is empty", () =>
      Effect.gen(function* () {
        for (const ids of [[], [2], [1, 3], [4]]) {
          const ints = list(SqlParameter.int, ids)
          const texts = list(SqlParameter.string, ids.map(String))
          const dates = list(
            SqlParameter.date,
            ids.map((id) => `2026-01-0${id}`)
          )
          const inside = [1, 2, 3].filter((id) => ids.includes(id))
          const outside = [1, 2, 3].filter((id) => !ids.includes(id))
          const rows = SqlWarehouse.query(Id)
          assert.deepStrictEqual(
            yield* idsOf(rows`SELECT id FROM (VALUES (1), (2), (3)) t(id) WHERE id IN (${ints}) ORDER BY id`),
            inside
          )
          assert.deepStrictEqual(
            yield* idsOf(rows`SELECT id FROM (VALUES (1), (2), (3)) t(id) WHERE id NOT IN (${ints}) ORDER BY id`),
            outside
          )
          assert.deepStrictEqual(
            yield* idsOf(
              rows`SELECT id FROM (VALUES (1, '1'), (2, '2'), (3, '3')) t(id, x) WHERE NOT x IN (${texts}) ORDER BY id`
            ),
            outside
          )
          assert.deepStrictEqual(
            yield* idsOf(
              Stream.runCollect(
                SqlWarehouse.stream(Id)`SELECT id FROM (VALUES (1, DATE '2026-01-01'), (2, DATE '2026-01-02'),
                  (3, DATE '2026-01-03')) t(id, x) WHERE x IN (${dates}) ORDER BY id`
              )
            ),
            inside
          )
        }
      })
    )

    it.effect("expands where a text names it, each time", () =>
      Effect.gen(function* () {
        const text = "SELECT 1 AS id WHERE 'a' IN (:x) AND 'c' NOT IN (:x) AND 'b' IN (:x_1)"
        const parameters = { x: list(SqlParameter.string, ["a", "b"]), x_1: "b" }
        const rows = SqlWarehouse.queryText(Id)(text, parameters)
        assert.deepStrictEqual(yield* idsOf(rows), [1])
      })
    )

    it.effect("is refused with 500 outside of IN (…), and with 400 for a wrong element, unsent", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const ids = list(SqlParameter.int, [1])
        const rows = SqlWarehouse.query(Id)
        for (const [query, status, message] of [
          [rows`SELECT ${ids}`, 500, "The parameter :p_1 cannot be sent: a list stands only as IN (:p_1)"],
          [
            rows`SELECT 1 WHERE 1 IN (${ids}, 2)`,
            500,
            "The parameter :p_1 cannot be sent: a list stands only as IN (:p_1)"
          ],
          [rows`SELECT 1 WHERE 1 IN ${ids}`, 500, "The parameter :p_1 cannot be sent: a list stands only as IN (:p_1)"],
          [
            rows`SELECT 1 WHERE 1 IN (${list(SqlParameter.int, [1, 2 ** 31])})`,
            400,
            "The parameter :p_1 cannot be sent: element 2 of the list: a INT must be an integer of 32 bits"
          ],
          [
            rows`SELECT 1 WHERE 1 IN (${list(SqlParameter.int, [null as unknown as number])})`,
            400,
            "The parameter :p_1 cannot be sent: element 1 of the list: it must not be null"
          ],
          [
            rows`SELECT 1 WHERE 1 IN (${list(SqlParameter.int, 1 as unknown as ReadonlyArray<number>)})`,
            400,
            "The parameter :p_1 cannot be sent: a list of INT must be an array"
          ]
        ] as const) {
          const error = yield* Effect.flip(query)
          const { body, status: is } = HttpFailure.fromError(error, { development: true })
          assert.deepStrictEqual([is, body.message], [status, message])
        }
        assert.lengthOf(yield* seen("POST", start), 0)
      })
    )
  })
})

describe("expand", () => {
  const Names = Schema.Literals(["a", "a_", "a_1", "a__1", "a_2", "b"])

  it.effect.prop(
    "gives each element a marker of its own, whatever other parameters are called",
    {
      lists: Schema.Array(Schema.Struct({ name: Names, length: Schema.Literals([0, 1, 2]) })),
      plain: Schema.Array(Names)
    },
    ({ lists, plain }) =>
      Effect.sync(() => {
        const parameters: Record<string, SqlParameter.Input> = Object.fromEntries(plain.map((name) => [name, name]))
        for (const { name, length } of lists) {
          parameters[name] = list(
            SqlParameter.string,
            Array.from({ length }, (_, index) => `${name}[${index}]`)
          )
        }
        const names = Object.keys(parameters)
        const isList = (name: string) => lists.some((_) => _.name === name)
        const { parameters: expanded = {}, text } = expand({
          text: names.map((name) => (isList(name) ? `x IN (:${name})` : `x = :${name}`)).join(" AND "),
          parameters
        })
        const bound = new Map(
          Result.getOrThrow(SqlParameter.bind(expanded)).map(
            ({ name, type, value }) => [name, { type, value }] as const
          )
        )
        const shown = text.replaceAll(/:(\w+)/g, (_, name: string) => JSON.stringify(bound.get(name)!.value))
        const elementsOf = (name: string) => {
          const { length } = lists.findLast((_) => _.name === name)!
          return length === 0
            ? "SELECT null WHERE FALSE"
            : Array.from({ length }, (_, index) => JSON.stringify(`${name}[${index}]`)).join(", ")
        }
        assert.strictEqual(
          shown,
          names.map((name) => (isList(name) ? `x IN (${elementsOf(name)})` : `x = "${name}"`)).join(" AND ")
        )
        for (const { type } of bound.values()) assert.strictEqual(type, "STRING")
      })
  )
})
