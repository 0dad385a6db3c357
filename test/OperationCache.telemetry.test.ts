import { assert, describe, it } from "@effect/vitest"
import { asUser, ExecutionContext, getCurrentUserId, Operation, OperationCache } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Deferred, Effect, Exit, Layer, Logger, Metric, References } from "effect"
import { makeRecorder, spansOf } from "./fixtures/spans.ts"

const service = TestContext.layer({ servicePrincipalId: "sp" })
const test = Layer.merge(service, OperationCache.layer())

const asAlice = Effect.provide(TestContext.user({ id: "alice" }))

const makeSales = (options: Operation.Policy = {}) => {
  let runs = 0
  const run = Effect.map(getCurrentUserId, (id) => `${id} ${++runs}`)
  return Operation.execute(run, { name: "sales", ...options, cache: { key: [] } })
}

describe("OperationCache telemetry", () => {
  it.effect("sets cache.hit on the span of each call, and retry.attempts on a miss", () =>
    Effect.gen(function* () {
      const sales = asAlice(makeSales({ retry: {}, timeout: "5 seconds" }))
      const { spans } = yield* spansOf(Effect.all([sales, sales]))
      const told = {
        "operation.name": "sales",
        "execution.context": "user",
        "caller.id": "alice",
        "enduser.id": "alice",
        timeout_ms: 5_000
      }
      assert.deepStrictEqual(
        spans.map((_) => [_.name, _.attributes]),
        [
          ["plugin.execute", { ...told, "cache.hit": false, "retry.attempts": 1 }],
          ["plugin.execute", { ...told, "cache.hit": true }]
        ]
      )
      assert.deepStrictEqual(
        spans.map((_) => _.exit),
        [Exit.succeed("alice 1"), Exit.succeed("alice 1")]
      )
    }).pipe(Effect.provide(test))
  )

  it.effect("records work that fails or is interrupted as a miss, in the span and in cache.miss", () =>
    Effect.gen(function* () {
      const ends = { fail: Effect.fail("no"), die: Effect.die("bug"), interrupt: Effect.interrupt }
      for (const [name, end] of Object.entries<Effect.Effect<never, string>>(ends)) {
        const { exit, spans } = yield* spansOf(Operation.execute(end, { name, cache: { key: [] } }))
        assert.isTrue(Exit.isFailure(exit))
        assert.strictEqual(spans[0]!.attributes["cache.hit"], false)
      }
      const started = yield* Deferred.make<void>()
      const endless = Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
      const left = yield* Operation.execute(endless, { name: "endless", cache: { key: [] } }).pipe(
        Effect.raceFirst(Deferred.await(started)),
        spansOf
      )
      assert.strictEqual(left.spans[0]!.attributes["cache.hit"], false)
      const [count] = (yield* Metric.snapshot).filter(({ id }) => id === "cache.miss")
      assert.deepStrictEqual(count?.state, { count: 4, incremental: true })
    }).pipe(Effect.provide(test), Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("sets no cache.hit on the span of an operation without a cache", () =>
    Effect.gen(function* () {
      const { spans } = yield* spansOf(Operation.execute(Effect.void, { name: "sales" }))
      assert.notProperty(spans[0]!.attributes, "cache.hit")
    }).pipe(Effect.provide(test))
  )

  it.effect("keeps the spans and log lines of the work under its operation", () =>
    Effect.gen(function* () {
      const { spans, tracer } = makeRecorder()
      const lines: Array<Readonly<Record<string, unknown>>> = []
      const logger = Logger.make(({ fiber }) => void lines.push(fiber.getRef(References.CurrentLogAnnotations)))
      const work = Effect.withSpan(Effect.log("reading"), "read")
      yield* Operation.execute(work, { name: "sales", cache: { key: [] } }).pipe(
        asAlice,
        Effect.withTracer(tracer),
        Effect.provide(Logger.layer([logger]))
      )
      const [operation, read] = spans
      assert.strictEqual(read?.parent._tag === "Some" && read.parent.value.spanId, operation?.spanId)
      const told = {
        "operation.name": "sales",
        "execution.context": "user",
        "caller.id": "alice",
        "enduser.id": "alice"
      }
      assert.deepStrictEqual(lines, [told])
    }).pipe(Effect.provide(test))
  )

  it.effect("counts hits in cache.hit and misses in cache.miss", () =>
    Effect.gen(function* () {
      const sales = makeSales()
      yield* Effect.all([sales, sales, sales, sales, asAlice(sales)])
      const counts = (yield* Metric.snapshot)
        .filter((_) => _.id.startsWith("cache."))
        .map(({ attributes, id, state }) => ({
          attributes: attributes ?? {},
          id,
          count: (state as { count: number }).count
        }))
      assert.deepStrictEqual(
        counts.toSorted((one, two) => one.id.localeCompare(two.id)),
        [
          { attributes: {}, id: "cache.hit", count: 3 },
          { attributes: {}, id: "cache.miss", count: 2 }
        ]
      )
    }).pipe(Effect.provide(test), Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("contains no token, in spans, keys or invalidations", () =>
    Effect.gen(function* () {
      const kept: Array<unknown> = []
      const store: OperationCache.Store = {
        get: (key) => Effect.sync(() => void kept.push(key)).pipe(Effect.andThen(Effect.succeedNone)),
        set: (...all) => Effect.sync(() => void kept.push(all)),
        remove: (which) => Effect.sync(() => void kept.push(which))
      }
      const cached = Effect.all([
        makeSales(),
        Effect.flatMap(ExecutionContext.current, OperationCache.invalidateCaller)
      ])
      const { spans } = yield* cached.pipe(
        Effect.provide(asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "planted-token" })),
        Effect.provide(OperationCache.layerStore(Effect.succeed(store))),
        spansOf
      )
      assert.lengthOf(kept, 3)
      assert.notInclude(JSON.stringify([kept, spans]), "planted-token")
    }).pipe(Effect.provide(service))
  )
})
