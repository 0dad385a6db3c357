import { assert, describe, it, layer } from "@effect/vitest"
import { type Operation, OperationCache, SqlParameter, SqlWarehouse, WorkspaceClient } from "effect-databricks"
import { make as databricksError, UnavailableError } from "effect-databricks/DatabricksError"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Effect, Exit, Fiber, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import {
  Live,
  misbehave,
  One,
  poll,
  reasonOf,
  recording,
  refuseStarts,
  start,
  statements
} from "./fixtures/sqlWarehouse.ts"
import { spansOf } from "./fixtures/spans.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

/** The warnings that an effect logs. */
const warningsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => {
  const warnings: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    if (logLevel === "Warn") warnings.push(String(message))
  })
  return Effect.as(Effect.provide(effect, Logger.layer([logger])), warnings)
}

const cache = {}

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("SqlWarehouse.query", (it) => {
  it.layer(Layer.merge(Live, OperationCache.layer()))("with a cache", (it) => {
    it.effect("runs once for each caller, and opens a span for a hit too", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const who = SqlWarehouse.query(One, { cache })`SELECT current_user AS x`
        const asAlice = who.pipe(as(alice))
        assert.deepStrictEqual(yield* asAlice, [{ x: alice }])
        assert.deepStrictEqual(yield* who.pipe(as(bob)), [{ x: bob }])
        const { exit, spans } = yield* spansOf(asAlice)
        assert.deepStrictEqual(exit, Exit.succeed([{ x: alice }]))
        assert.lengthOf(yield* seen("POST", start), 2)
        const { warehouseId } = yield* LocalWorkspace.LocalWorkspace
        const { attributes } = spans.find((_) => _.attributes["operation.name"] === "sql.query")!
        assert.include(attributes, { "cache.hit": true, "execution.context": "user", "warehouse.id": warehouseId })
      })
    )

    it.effect("keys entries by text, parameters and types, warehouse, catalog, schema and rowLimit", () =>
      Effect.gen(function* () {
        const { warehouses } = yield* LocalWorkspace.LocalWorkspace
        const seen = yield* recording
        const { execute } = yield* SqlWarehouse.SqlWarehouse
        const text = "SELECT :a AS x"
        const all = Effect.gen(function* () {
          yield* execute({ text, parameters: { a: "1" } }, { cache })
          yield* execute({ text: `${text} `, parameters: { a: "1" } }, { cache })
          yield* execute({ text, parameters: { a: "2" } }, { cache })
          yield* execute({ text, parameters: { a: 1 } }, { cache })
          yield* execute({ text, parameters: { a: SqlParameter.bigint(1) } }, { cache })
          yield* execute({ text, parameters: { a: null } }, { cache })
          yield* execute({ text, parameters: { a: "1" } }, { cache, warehouseId: warehouses[1]!.id })
          yield* execute({ text, parameters: { a: "1" } }, { cache, catalog: "c" })
          yield* execute({ text, parameters: { a: "1" } }, { cache, schema: "c" })
          yield* execute({ text, parameters: { a: "1" } }, { cache, rowLimit: 1 })
        })
        yield* all
        assert.lengthOf(yield* seen("POST", start), 10)
        yield* all
        assert.lengthOf(yield* seen("POST", start), 10)
        yield* execute({ text, parameters: { a: "1" } })
        assert.lengthOf(yield* seen("POST", start), 11)
      })
    )

    it.effect("runs again with timeToLive 0, and after a failure", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const brief = SqlWarehouse.query(One, { cache: { timeToLive: 0 } })`SELECT 'brief' AS x`
        yield* Effect.all([brief, brief])
        assert.lengthOf(yield* seen("POST", start), 2)
        const failing = SqlWarehouse.query(One, { cache })`SELECT * FROM nowhere`
        yield* Effect.all([Effect.flip(failing), Effect.flip(failing)])
        assert.lengthOf(yield* seen("POST", start), 4)
        const wrong = SqlWarehouse.query(One, { cache })`SELECT ${SqlParameter.date("2026-02-30")} AS x`
        assert.strictEqual((yield* Effect.flip(wrong))._tag, "SqlParameterError")
      })
    )

    it.effect("runs a statement that may write each time, and logs a warning", () =>
      Effect.gen(function* () {
        const { administer } = yield* LocalWorkspace.LocalWorkspace
        yield* administer("CREATE TABLE tally (x int); GRANT SELECT, INSERT ON tally TO public")
        const insert = SqlWarehouse.query(One, { cache })`WITH n AS (SELECT 1 AS x) INSERT INTO tally SELECT x FROM n`
        const warnings = yield* warningsOf(Effect.all([Effect.flip(insert), Effect.flip(insert)]))
        assert.lengthOf(warnings, 2)
        assert.match(warnings[0]!, /is not cached, because the statement may write/)
        const counted = SqlWarehouse.query(One, { cache })`SELECT count(*) AS x FROM tally`
        assert.deepStrictEqual(yield* warningsOf(counted), [])
        assert.deepStrictEqual(yield* counted, [{ x: "2" }])
      })
    )
  })

  const Patient = SqlWarehouse.layerWith({ retry: { attempts: 3, delay: 1 }, timeout: "2 seconds" })

  it.layer(Patient.pipe(Layer.provideMerge(serviceContext())))("under SqlWarehouse.layerWith", (it) => {
    it.effect("retries and times out by the layer's policy, and counts attempts in its span", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        yield* refuseStarts(2)
        const patient = SqlWarehouse.query(One, { timeout: "30 seconds" })`SELECT 1 AS x`
        const { spans } = yield* spansOf(as(alice)(patient))
        const { attributes } = spans.find((_) => _.attributes["operation.name"] === "sql.query")!
        assert.include(attributes, { "retry.attempts": 3, timeout_ms: 30_000 })
        assert.lengthOf(yield* seen("POST", start), 3)
        const slow = SqlWarehouse.query(One)`SELECT pg_sleep(60) AS x`
        const { _tag, message } = yield* Effect.flip(slow)
        assert.deepStrictEqual([_tag, message], ["OperationTimeoutError", "sql.query took longer than 2s"])
        assert.lengthOf(yield* seen("POST", start), 4)
      }).pipe(Effect.scoped)
    )

    it.effect("counts attempts to start the statement, and not failed polls", () =>
      Effect.gen(function* () {
        yield* misbehave({ kind: "pending", polls: 1, method: "POST", path: statements, times: 1 })
        yield* misbehave({ kind: "answer", status: 503, method: "GET", path: (path) => poll.test(path), times: 1 })
        const { exit, spans } = yield* spansOf(SqlWarehouse.query(One, { timeout: "30 seconds" })`SELECT 1 AS x`)
        assert.isTrue(Exit.isSuccess(exit))
        assert.include(spans.find((_) => _.attributes["operation.name"] === "sql.query")!.attributes, {
          "retry.attempts": 1
        })
      }).pipe(Effect.scoped)
    )

    it.effect("lets a query override the retry and the timeout of the layer", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        yield* refuseStarts(2)
        const once = SqlWarehouse.query(One, { timeout: "30 seconds", retry: { attempts: 1 } })`SELECT 1 AS x`
        assert.include(yield* reasonOf(once), { _tag: "UnavailableError" })
        assert.lengthOf(yield* seen("POST", start), 1)
        yield* refuseStarts(1)
        yield* SqlWarehouse.query(One, { timeout: "30 seconds", retry: undefined })`SELECT pg_sleep(2.2) AS x`
      }).pipe(Effect.scoped)
    )
  })
})

describe("SqlWarehouse.execute", () => {
  /** A workspace that refuses every start; `asked` is when. */
  const refusing = (asked: Array<number>) =>
    Layer.mock(WorkspaceClient.WorkspaceClient, {
      send: Effect.fnUntraced(function* (request) {
        // The state of the warehouse is asked for at the limit.
        if (request.method === "POST") asked.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
        return yield* databricksError(new UnavailableError({ message: "Later" }))
      })
    }).pipe(Layer.provideMerge(TestContext.layer()))

  for (const option of ["timeout", "totalTimeout"] as const) {
    it.effect(`counts the waits after refused starts toward ${option}`, () => {
      const asked: Array<number> = []
      return Effect.gen(function* () {
        const { execute } = yield* SqlWarehouse.SqlWarehouse
        const options: Operation.Policy = {
          retry: { attempts: 1000, delay: "1 second", maxDelay: "1 second" },
          [option]: "10 seconds"
        }
        const fiber = yield* Effect.forkChild(Effect.flip(execute({ text: "SELECT 1" }, options)))
        yield* TestClock.adjust("9999 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "OperationTimeoutError")
        assert.isAbove(asked.length, 3)
        assert.isBelow(asked.at(-1)!, 10_000)
      }).pipe(Effect.provide(Layer.provide(SqlWarehouse.layer, refusing(asked))))
    })
  }
})
