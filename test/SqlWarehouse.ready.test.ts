import { assert, layer } from "@effect/vitest"
import { asService, type DatabricksError, provideUser, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Deferred, Duration, Effect, Exit, Fiber, Latch, Layer, Redacted, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { skipping, withSleep } from "./fixtures/clock.ts"
import { eventually } from "./fixtures/eventually.ts"
import { alice, as, bob, requestOf } from "./fixtures/people.ts"
import { cancel, misbehave, One, pending, poll, reasonOf, recording, start } from "./fixtures/sqlWarehouse.ts"
import { makeRecorder } from "./fixtures/spans.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const state = /^\/api\/2.0\/sql\/warehouses\/[^/]+$/
const starting = /^\/api\/2.0\/sql\/warehouses\/[^/]+\/start$/

/** A stopped warehouse for each name, which starts when its test says so. */
const names = [
  "shared",
  "left",
  "traced",
  "ended",
  "token",
  "slow",
  "broken",
  "progress",
  "cold",
  "total",
  "cannot"
] as const
const started = Object.fromEntries(names.map((name) => [name, Deferred.makeUnsafe<void, Error>()]))

const warehouses: ReadonlyArray<LocalWorkspace.WarehouseDefinition> = [
  { name: "running" },
  { name: "stopped", state: "STOPPED" },
  { name: "deleted", state: "DELETED" },
  { name: "for alice", state: "STOPPED", users: [alice] },
  { name: "not to start", state: "STOPPED" },
  ...names.map((name) => ({ name, state: "STOPPED" as const, starting: Deferred.await(started[name]!) }))
]

const idOf = (name: string) =>
  LocalWorkspace.LocalWorkspace.useSync((workspace) => workspace.warehouses.find((_) => _.name === name)!.id)

const ready = (name: string, options?: SqlWarehouse.ReadyOptions) =>
  Stream.unwrap(Effect.map(idOf(name), (warehouseId) => SqlWarehouse.ready({ warehouseId, ...options })))

/** Has a watcher whose clock skips the waits between two polls. */
const quick = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(
    Effect.flatMap(skipping("15 seconds")(Layer.build(SqlWarehouse.layer)), (context) =>
      Effect.provide(effect, context)
    )
  )

/** Runs on a clock that stands still until the test adjusts it, also in the watcher. */
const still = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Effect.provide(SqlWarehouse.layer), Effect.provide(TestClock.layer()))

/** Waits until a fiber has ended, while the clock goes on. */
const ended = <A, E>(fiber: Fiber.Fiber<A, E>) =>
  Effect.andThen(
    eventually(Effect.map(TestClock.adjust("1 second"), () => fiber.pollUnsafe() !== undefined)),
    Fiber.join(fiber)
  )

/** Runs on a clock on which a wait of a query's time limit passes when the test says so, each time once more. */
const limits = (waits: Readonly<Record<string, Effect.Effect<void>>>) =>
  withSleep((sleep) => (duration) => waits[Duration.format(duration)] ?? sleep(duration))

const outcomeOf = (reason: DatabricksError.Reason) => [reason._tag, reason.message] as const

layer(LocalWorkspace.layer({ warehouses, warehouseStartTime: 0 }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("SqlWarehouse.ready", (it) => {
  it.layer(serviceContext())((it) => {
    it.effect("starts a stopped warehouse as the caller, emits each state and ends when it runs", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const states = yield* Stream.runCollect(ready("stopped")).pipe(as(alice))
        assert.deepStrictEqual(
          states.filter((_) => _ !== "STARTING"),
          ["STOPPED", "RUNNING"]
        )
        const asked = [...(yield* seen("GET", state)), ...(yield* seen("POST", starting))]
        assert.lengthOf(yield* seen("POST", starting), 1)
        for (const { user } of asked) assert.strictEqual(user, alice)
        assert.deepStrictEqual(yield* Stream.runCollect(ready("running")), ["RUNNING"])
        assert.lengthOf(yield* seen("POST", starting), 1)
      }).pipe(quick)
    )

    it.effect("has one watcher for all who wait for one warehouse as one person, and another for another person", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const asked = (user: string) => Effect.map(seen("GET", state), (_) => _.filter((_) => _.user === user).length)
        const seenBy = Array.from({ length: 6 }, () => [] as Array<string>)
        const waiting = yield* Effect.forEach(seenBy, (states, index) =>
          Effect.forkChild(
            Stream.runForEach(ready("shared"), (state) => Effect.sync(() => states.push(state))).pipe(
              as(index === 0 ? bob : alice)
            )
          )
        )
        yield* eventually(() => seenBy.every(({ length }) => length > 0))
        yield* eventually(Effect.andThen(TestClock.adjust("300 millis"), asked(bob)), (polls) => polls >= 5)
        // The waits are a fifth longer or shorter; a watcher for each of the five would have asked 25 times.
        assert.isAtMost(yield* asked(alice), 8)
        assert.isAtLeast(yield* asked(alice), 3)
        yield* Deferred.succeed(started["shared"]!, undefined)
        for (const fiber of waiting) yield* ended(fiber)
        for (const states of seenBy) {
          assert.isTrue(["STOPPED,STARTING,RUNNING", "STARTING,RUNNING"].includes(states.join()), states.join())
        }
        // A later call asks again.
        const before = yield* asked(alice)
        assert.deepStrictEqual(yield* Stream.runCollect(ready("shared")).pipe(as(alice)), ["RUNNING"])
        assert.strictEqual(yield* asked(alice), before + 1)
      }).pipe(still)
    )

    it.effect("polls until its last reader leaves", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const told: Array<string> = []
        const wait = Stream.runForEach(ready("left"), (state) => Effect.sync(() => told.push(state)))
        const [first, second] = yield* Effect.all([Effect.forkChild(wait), Effect.forkChild(wait)])
        yield* eventually(() => told.length >= 2)
        yield* Fiber.interrupt(first)
        yield* eventually(Effect.andThen(TestClock.adjust("1 second"), seen("GET", state)), ({ length }) => length > 1)
        yield* Fiber.interrupt(second)
        const { length } = yield* seen("GET", state)
        yield* TestClock.adjust("5 minutes")
        yield* Stream.runDrain(ready("running"))
        assert.lengthOf(yield* seen("GET", state), length + 1)
      }).pipe(still)
    )

    it.effect("polls outside of the spans of its first reader, who may have left", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { spans, tracer } = makeRecorder()
        const told: Array<string> = []
        const wait = Stream.runForEach(ready("traced"), (state) => Effect.sync(() => told.push(state)))
        const first = yield* Effect.forkChild(Effect.withTracer(wait, tracer))
        yield* eventually(() => told.length > 0)
        const second = yield* Effect.forkChild(wait)
        yield* eventually(() => told.length > 1)
        yield* Fiber.interrupt(first)
        yield* eventually(Effect.andThen(TestClock.adjust("1 second"), seen("GET", state)), ({ length }) => length > 2)
        yield* Fiber.interrupt(second)
        assert.deepStrictEqual(
          spans.map(({ name }) => name),
          ["plugin.execute"]
        )
      }).pipe(still)
    )

    it.effect("ends its readers when the service ends", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(SqlWarehouse.layer, scope)
        const told: Array<string> = []
        const wait = Stream.runForEach(ready("ended"), (state) => Effect.sync(() => told.push(state)))
        const waiting = yield* Effect.forkChild(Effect.provide(wait, context))
        yield* eventually(() => told.length > 0)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(waiting)))
      })
    )

    it.effect("goes on with the token of a later reader when that of the first is refused", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { revoke } = yield* LocalWorkspace.LocalWorkspace
        const headers = yield* requestOf(alice)
        const first = yield* Effect.forkChild(
          Effect.flip(Stream.runDrain(ready("token")).pipe((_) => provideUser(_, headers)))
        )
        yield* eventually(seen("GET", state), ({ length }) => length > 0)
        const told: Array<string> = []
        const second = yield* Effect.forkChild(
          Stream.runForEach(ready("token"), (state) => Effect.sync(() => told.push(state))).pipe(as(alice))
        )
        yield* eventually(() => told.length > 0)
        yield* revoke(Redacted.make(headers["x-forwarded-access-token"]!))
        assert.include(yield* ended(first), { _tag: "DatabricksError" })
        yield* Deferred.succeed(started["token"]!, undefined)
        yield* ended(second)
        assert.strictEqual(told.at(-1), "RUNNING")
      }).pipe(still)
    )

    it.effect("fails with PermissionDeniedError for a caller who may not see it, while another caller starts it", () =>
      Effect.gen(function* () {
        const id = yield* idOf("for alice")
        const [tag, message] = outcomeOf(yield* reasonOf(Stream.runDrain(ready("for alice")).pipe(as(bob))))
        assert.strictEqual(tag, "PermissionDeniedError")
        assert.include(message, `CAN_USE on the SQL warehouse ${id}`)
        assert.strictEqual((yield* Stream.runCollect(ready("for alice")).pipe(as(alice))).at(-1), "RUNNING")
      }).pipe(quick)
    )

    it.effect("fails with PermissionDeniedError for a caller who may see it and not start it", () =>
      Effect.gen(function* () {
        yield* misbehave({ kind: "answer", status: 403, method: "POST", path: (path) => starting.test(path) })
        assert.strictEqual((yield* reasonOf(Stream.runDrain(ready("not to start"))))._tag, "PermissionDeniedError")
      }).pipe(Effect.scoped, quick)
    )

    it.effect("fails with UnknownWarehouseError for a warehouse that is deleted or never was", () =>
      Effect.gen(function* () {
        const deleted = yield* idOf("deleted")
        for (const warehouseId of [deleted, "nope"]) {
          const reason = yield* reasonOf(Stream.runDrain(SqlWarehouse.ready({ warehouseId })))
          assert.include(reason, { _tag: "UnknownWarehouseError", warehouseId })
          assert.include(reason.message, warehouseId)
        }
      }).pipe(quick)
    )

    it.effect("fails with UnavailableError and the workspace's reason when the warehouse stops while it starts", () =>
      Effect.gen(function* () {
        const wait = Stream.runForEach(ready("broken"), (state) =>
          state === "STARTING" ? Deferred.fail(started["broken"]!, new Error("The cloud has no capacity")) : Effect.void
        )
        const reason = yield* reasonOf(wait)
        assert.strictEqual(reason._tag, "UnavailableError")
        assert.include(reason.message, "The cloud has no capacity")
      }).pipe(quick)
    )

    it.effect("fails with OperationTimeoutError after 10 minutes, or after its timeout", () =>
      Effect.gen(function* () {
        const outcomes: Array<Exit.Exit<void, unknown>> = []
        for (const [timeout, minutes] of [
          [undefined, 10],
          ["1 minute", 1]
        ] as const) {
          const waiting = yield* Effect.forkChild(
            Stream.runDrain(ready("slow", { timeout })).pipe(
              Effect.exit,
              Effect.map((exit) => outcomes.push(exit))
            )
          )
          const seen = yield* recording
          yield* eventually(seen("GET", state), ({ length }) => length > 0)
          const before = outcomes.length
          yield* TestClock.adjust(minutes * 60_000 - 1)
          yield* Stream.runDrain(ready("running"))
          assert.lengthOf(outcomes, before)
          yield* TestClock.adjust(1)
          yield* Fiber.join(waiting)
        }
        for (const exit of outcomes) assert.include(String(exit), "sql.ready took longer than")
      }).pipe(still)
    )

    it.effect("waits through 503s and lost connections of its polls", () =>
      Effect.gen(function* () {
        const path = (path: string) => state.test(path)
        yield* misbehave({ kind: "answer", status: 503, path, times: 4 })
        yield* misbehave({ kind: "drop", path, times: 4 })
        assert.deepStrictEqual(yield* Stream.runCollect(ready("running")), ["RUNNING"])
      }).pipe(Effect.scoped, quick)
    )

    it.effect("runs as the user by a client of the user, also inside asService", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const warehouseId = yield* idOf("running")
        const client = yield* SqlWarehouse.user.pipe(as(alice))
        const wait = Stream.runCollect(client.ready({ warehouseId }))
        assert.deepStrictEqual(yield* asService(wait).pipe(as(alice)), ["RUNNING"])
        assert.isTrue(Exit.hasDies(yield* Effect.exit(wait.pipe(as(bob)))))
        assert.deepStrictEqual(
          (yield* seen("GET", state)).map(({ user }) => user),
          [alice]
        )
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        yield* asService(Stream.runDrain(ready("running"))).pipe(as(alice))
        assert.strictEqual((yield* seen("GET", state)).at(-1)?.user, servicePrincipal.clientId)
      }).pipe(quick)
    )
  })

  it.layer(serviceContext())("beside a query", (it) => {
    it.effect("makes onProgress tell STARTING from PENDING and RUNNING", () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const onProgress = ({ state }: SqlWarehouse.Progress) => Effect.sync(() => void told.push(state))
        const query = (name: string) =>
          Effect.flatMap(
            idOf(name),
            (warehouseId) => SqlWarehouse.query(One, { warehouseId, onProgress })`SELECT 1 AS x`
          )
        yield* pending(3)
        yield* query("running")
        assert.strictEqual(told.shift(), "PENDING")
        told.length = 0
        yield* pending(3)
        const querying = yield* Effect.forkChild(query("progress").pipe(as(alice)))
        yield* eventually(() => told.length > 0)
        yield* Deferred.succeed(started["progress"]!, undefined)
        assert.lengthOf(yield* Fiber.join(querying), 1)
        assert.strictEqual(told[0], "STARTING")
        assert.lengthOf(
          told.filter((_) => _ === "STARTING"),
          1
        )
      }).pipe(Effect.scoped, quick)
    )

    it.effect("tells PENDING to a caller who may not see the warehouse, and asks once", () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const onProgress = ({ state }: SqlWarehouse.Progress) => Effect.sync(() => void told.push(state))
        yield* pending(5)
        yield* misbehave({ kind: "answer", status: 403, method: "GET", path: (path) => state.test(path) })
        const seen = yield* recording
        const warehouseId = yield* idOf("running")
        yield* SqlWarehouse.query(One, { warehouseId, onProgress })`SELECT 1 AS x`
        assert.strictEqual(told[0], "PENDING")
        assert.lengthOf(yield* seen("GET", state), 1)
      }).pipe(Effect.scoped, quick)
    )

    it.effect("keeps the start of the warehouse out of the timeout of a query, a stream and an Arrow result", () =>
      Effect.gen(function* () {
        const warehouseId = yield* idOf("cold")
        const options = { warehouseId, timeout: "7 minutes" } as const
        const seen = yield* recording
        let waits = 0
        // The statements go on for a while after the warehouse has started.
        for (let count = 0; count < 3; count++) yield* pending(5)
        // The first wait of each passes at once, while the warehouse starts; the second never ends.
        const passing = limits({ "7m": Effect.suspend(() => (++waits <= 3 ? Effect.void : Effect.never)) })
        const querying = yield* Effect.forkChild(
          Effect.all(
            [
              Effect.map(SqlWarehouse.query(One, options)`SELECT 1 AS x`, ({ length }) => length),
              Stream.runCount(SqlWarehouse.stream(One, options)`SELECT 1 AS x`),
              Effect.as(SqlWarehouse.arrow(options)`SELECT 1 AS x`, 1)
            ],
            { concurrency: "unbounded" }
          ).pipe(passing)
        )
        yield* eventually(
          Effect.all([seen("POST", start), seen("GET", state)]),
          ([starts, polls]) => starts.length === 3 && polls.length > 5
        )
        assert.strictEqual(waits, 3)
        yield* Deferred.succeed(started["cold"]!, undefined)
        assert.deepStrictEqual(yield* Fiber.join(querying), [1, 1, 1])
        assert.lengthOf(yield* seen("POST", start), 3)
        assert.lengthOf(yield* seen("POST", cancel), 0)
      }).pipe(quick)
    )

    it.effect("ends a query whose warehouse cannot start with the workspace's reason, and cancels its statement", () =>
      Effect.gen(function* () {
        const warehouseId = yield* idOf("cannot")
        const seen = yield* recording
        yield* pending(1000)
        const querying = yield* Effect.forkChild(
          reasonOf(SqlWarehouse.query(One, { warehouseId, timeout: "7 minutes" })`SELECT 1 AS x`).pipe(
            limits({ "7m": Effect.void, "1s": Effect.never })
          )
        )
        yield* eventually(seen("GET", state), ({ length }) => length > 2)
        yield* Deferred.fail(started["cannot"]!, new Error("The cloud has no capacity"))
        const reason = yield* Fiber.join(querying)
        assert.strictEqual(reason._tag, "UnavailableError")
        assert.include(reason.message, "The cloud has no capacity")
        assert.lengthOf(yield* seen("POST", cancel), 1)
      }).pipe(Effect.scoped, quick)
    )

    it.effect("ends a query that exceeds its timeout on a warehouse that runs", () =>
      Effect.gen(function* () {
        const warehouseId = yield* idOf("running")
        const seen = yield* recording
        yield* pending(1000)
        const error = yield* Effect.flip(
          SqlWarehouse.query(One, { warehouseId, timeout: "7 minutes" })`SELECT 1 AS x`.pipe(
            limits({ "7m": Effect.void })
          )
        )
        assert.include(error, { _tag: "OperationTimeoutError", operation: "sql.query" })
        assert.lengthOf(yield* seen("GET", state), 1)
      }).pipe(Effect.scoped, quick)
    )

    it.effect("does not start a warehouse again that stops while a result is read", () =>
      Effect.gen(function* () {
        const warehouseId = yield* idOf("running")
        const link = (path: string) => path.startsWith("/external-links/")
        yield* misbehave({ kind: "hang", path: link })
        yield* misbehave({
          kind: "answer",
          status: 200,
          body: JSON.stringify({ state: "STOPPED" }),
          method: "GET",
          path: (path) => state.test(path)
        })
        const seen = yield* recording
        const passed = Latch.makeUnsafe()
        // It calls a function that is not known to only compute, so its result is linked.
        const querying = yield* Effect.forkChild(
          Effect.flip(
            SqlWarehouse.query(One, { warehouseId, timeout: "7 minutes" })`SELECT pg_backend_pid() AS x`
          ).pipe(limits({ "7m": passed.await }))
        )
        yield* eventually(seen("GET", /^\/external-links\//), ({ length }) => length > 0)
        yield* passed.open
        assert.include(yield* Fiber.join(querying), { _tag: "OperationTimeoutError" })
        assert.lengthOf(yield* seen("POST", starting), 0)
      }).pipe(Effect.scoped, quick)
    )

    it.effect("counts the start in totalTimeout, which cancels the statement", () =>
      Effect.gen(function* () {
        const warehouseId = yield* idOf("total")
        const seen = yield* recording
        yield* pending(1000)
        const passed = Latch.makeUnsafe()
        const options = { warehouseId, timeout: "7 minutes", totalTimeout: "8 minutes" } as const
        const querying = yield* Effect.forkChild(
          Effect.flip(SqlWarehouse.query(One, options)`SELECT 1 AS x`).pipe(
            limits({ "7m": Effect.never, "8m": Effect.asVoid(passed.await), "1s": Effect.never })
          )
        )
        yield* eventually(seen("GET", poll), ({ length }) => length > 0)
        yield* passed.open
        assert.include(yield* Fiber.join(querying), { _tag: "OperationTimeoutError", operation: "sql.query" })
        assert.lengthOf(yield* seen("POST", cancel), 1)
      }).pipe(Effect.scoped, quick)
    )
  })
})
