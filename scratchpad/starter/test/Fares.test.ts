/** A unit test: the warehouse is a mock, the user is made up, and no process starts. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ExecutionContext, Queries, SqlWarehouse } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { readFileSync } from "node:fs"
import { fares } from "../src/Fares.ts"

const Texts = Queries.layerRecord({
  "fares.obo.sql": readFileSync("config/queries/fares.obo.sql", "utf8")
}).pipe(Layer.provide(TestContext.layer()))

describe("fares", () => {
  it.effect("asks the warehouse as the user, in the samples catalog", () => {
    const asked: Array<unknown> = []
    const Warehouse = Layer.mock(SqlWarehouse.SqlWarehouse, {
      execute: (_, options) =>
        Effect.map(ExecutionContext.ExecutionContext, (caller) => {
          asked.push([caller?.userName, options?.catalog, options?.schema])
          const columns = [
            { name: "miles", type_text: "INT", type_name: "INT" },
            { name: "trips", type_text: "INT", type_name: "INT" },
            { name: "average", type_text: "DOUBLE", type_name: "DOUBLE" }
          ]
          return { statementId: "1", columns, rows: [["1", "10", "7.5"]], truncated: false }
        })
    })
    return Effect.gen(function* () {
      assert.deepStrictEqual(yield* fares, [{ miles: 1, trips: 10, average: 7.5 }])
      assert.deepStrictEqual(asked, [["alice@example.com", "samples", "nyctaxi"]])
    }).pipe(Effect.provide([Texts, Warehouse, TestContext.user({ id: "1", userName: "alice@example.com" })]))
  })
})
