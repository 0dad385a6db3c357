import { assert, describe, it, layer } from "@effect/vitest"
import { asService, asUser, ExecutionContext, OperationCache, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Cause, Effect, Exit, Layer, Pull, Stream } from "effect"
import { Caller, chunk, Live, One, recording, start } from "./fixtures/sqlWarehouse.ts"
import { spansOf } from "./fixtures/spans.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const text = "SELECT current_user AS caller"

const asAlice = as(alice)
const asBob = as(bob)

/** The caller that the warehouse reports for each method of a client. */
const waysThrough = (warehouse: SqlWarehouse.Client) => {
  const first = Effect.map((rows: ReadonlyArray<{ readonly [column: string]: unknown }>) => rows[0]?.["caller"])
  const firstOf = Effect.map(({ rows }: SqlWarehouse.Table) => rows[0]?.[0])
  const ways = {
    query: first(warehouse.query(Caller)`SELECT current_user AS caller`),
    "query without a Schema": first(warehouse.query()`SELECT current_user AS caller`),
    queryText: first(warehouse.queryText(Caller)(text)),
    stream: first(Stream.runCollect(warehouse.stream(Caller)`SELECT current_user AS caller`)),
    streamText: first(Stream.runCollect(warehouse.streamText()(text))),
    execute: firstOf(warehouse.execute({ text })),
    executeStream: firstOf(Effect.map(Stream.runCollect(warehouse.executeStream({ text })), (parts) => parts[0]!))
  }
  return Effect.all(ways, { concurrency: "unbounded" })
}

layer(LocalWorkspace.layer({ rowsPerChunk: 3 }), { timeout: "60 seconds", excludeTestServices: true })(
  "SqlWarehouse.user",
  (it) => {
    it.layer(Layer.merge(Live, OperationCache.layer()))("taken in alice's call", (it) => {
      it.effect("runs every method as alice: in her call, under asService and in a later call of hers", () =>
        Effect.gen(function* () {
          const id = yield* asAlice(ExecutionContext.getCurrentUserId)
          const taken = yield* asAlice(SqlWarehouse.user)
          const situations = {
            "in her call": asAlice(Effect.flatMap(SqlWarehouse.user, waysThrough)),
            "in her call, asService": asAlice(Effect.flatMap(SqlWarehouse.user, (_) => asService(waysThrough(_)))),
            "asked for asService": asAlice(asService(Effect.flatMap(SqlWarehouse.user, waysThrough))),
            "in a later call": asAlice(waysThrough(taken))
          }
          for (const [situation, effect] of Object.entries(situations)) {
            const { exit, spans } = yield* spansOf(effect)
            if (Exit.isFailure(exit)) return assert.fail(`${situation}: ${Cause.pretty(exit.cause)}`)
            for (const [way, by] of Object.entries(exit.value)) assert.strictEqual(by, alice, `${way}, ${situation}`)
            const operations = spans.filter(({ name }) => name === "plugin.execute")
            assert.lengthOf(operations, 7, situation)
            for (const { attributes } of operations) {
              assert.include(attributes, { "caller.id": id, "execution.context": "user" }, situation)
            }
          }
        })
      )

      it.effect("dies in another user's call and outside of any, and sends nothing", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const taken = yield* asAlice(SqlWarehouse.user)
          for (const elsewhere of [
            asBob(waysThrough(taken)),
            asBob(asService(waysThrough(taken))),
            waysThrough(taken)
          ]) {
            const exit = yield* Effect.exit(elsewhere)
            assert.isTrue(Exit.hasDies(exit))
            assert.include(String(exit), "in the call that uses it")
          }
          assert.lengthOf(yield* seen("POST", start), 0)
        })
      )

      it.effect("does not change the caller of other queries under asService", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          const module = SqlWarehouse.query(Caller)`SELECT current_user AS caller`
          const pairs = Effect.flatMap(SqlWarehouse.user, (mine) =>
            Stream.runCollect(
              Stream.mapEffect(mine.stream(Caller)`SELECT current_user AS caller`, (hers) =>
                Effect.map(module, (app) => [hers.caller, app[0]?.caller])
              )
            )
          )
          assert.deepStrictEqual(yield* asAlice(asService(pairs)), [[alice, servicePrincipal.clientId]])
        })
      )

      it.effect("shares cached results with alice's own queries, and not with bob's", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const cache = {}
          const mine = Effect.flatMap(
            SqlWarehouse.user,
            (_) => _.query(Caller, { cache })`SELECT current_user AS caller`
          )
          const own = SqlWarehouse.query(Caller, { cache })`SELECT current_user AS caller`
          assert.deepStrictEqual(yield* asAlice(mine), [{ caller: alice }])
          assert.deepStrictEqual(yield* asBob(own), [{ caller: bob }])
          assert.lengthOf(yield* seen("POST", start), 2)
          for (const again of [asAlice(own), asAlice(mine), asAlice(asService(mine))]) {
            const { exit, spans } = yield* spansOf(again)
            assert.deepStrictEqual(exit, Exit.succeed([{ caller: alice }]))
            assert.strictEqual(spans.find((_) => _.name === "plugin.execute")!.attributes["cache.hit"], true)
          }
          assert.deepStrictEqual(yield* asBob(mine), [{ caller: bob }])
          assert.lengthOf(yield* seen("POST", start), 2)
        })
      )

      it.effect("streams as alice when alice opens the stream and others pull", () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const pull = yield* asAlice(
            Effect.flatMap(SqlWarehouse.user, (mine) =>
              Stream.toPull(mine.stream(Caller)`SELECT current_user AS caller FROM generate_series(1, 30)`)
            )
          )
          const callers: Array<string> = []
          const next = Effect.map(pull, (part) => void callers.push(...part.map(({ caller }) => caller)))
          // The first pull opens the stream.
          const end = Effect.andThen(asAlice(next), Effect.forever(Effect.andThen(asBob(next), asService(next))))
          yield* Pull.catchDone(end, () => Effect.void)
          assert.deepStrictEqual(
            callers,
            Array.from({ length: 30 }, () => alice)
          )
          const asked = [...(yield* seen("POST", start)), ...(yield* seen("GET", chunk))]
          assert.isAbove(asked.length, 5)
          for (const { path, user } of asked) assert.strictEqual(user, alice, path)
        }).pipe(Effect.scoped)
      )
    })

    const development = serviceContext({ NODE_ENV: "development" })

    it.layer(SqlWarehouse.layer.pipe(Layer.provideMerge(development)))("in development without a token", (it) => {
      it.effect("runs as the service principal and says so in its span", () =>
        Effect.gen(function* () {
          const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          const fallback = Effect.flatMap(SqlWarehouse.user, waysThrough).pipe(Effect.provide(asUser({})))
          const { exit, spans } = yield* spansOf(fallback)
          if (Exit.isFailure(exit)) return assert.fail(Cause.pretty(exit.cause))
          for (const [way, by] of Object.entries(exit.value)) assert.strictEqual(by, servicePrincipal.clientId, way)
          for (const { attributes } of spans.filter(({ name }) => name === "plugin.execute")) {
            assert.include(attributes, { "execution.context": "service", "execution.obo_dev_fallback": true })
          }
        })
      )
    })
  }
)

describe("SqlWarehouse.user without a workspace", () => {
  const columns = [{ name: "x", type_text: "STRING", type_name: "STRING" }]
  const Swapped = Layer.mock(SqlWarehouse.SqlWarehouse, {
    execute: () =>
      Effect.map(ExecutionContext.ExecutionContext, (caller) => ({
        statementId: "1",
        columns,
        rows: [[caller?.userName ?? "service"]],
        truncated: false
      }))
  })

  it.effect("runs as the user over a Layer.mock that has execute only", () =>
    Effect.gen(function* () {
      const mine = Effect.flatMap(SqlWarehouse.user, (warehouse) => warehouse.query(One)`SELECT ${1} AS x`)
      const rows = yield* asService(mine).pipe(Effect.provide(TestContext.user({ id: "1", userName: alice })))
      assert.deepStrictEqual(rows, [{ x: alice }])
    }).pipe(Effect.provide(Swapped))
  )
})
