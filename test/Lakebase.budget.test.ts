import { PgConnection } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Lakebase } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, Exit, Fiber, Layer, Random, Scope } from "effect"
import { SqlClient, type SqlError } from "effect/sql"
import { eventually } from "./fixtures/eventually.ts"
import { database, hold, settled, sqlErrorOf, stays } from "./fixtures/lakebaseFaults.ts"
import { lakebase, who } from "./fixtures/lakebaseClient.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const people = (count: number) => Array.from({ length: count }, (_, i) => `u${i}@example.com`)

const holdAs = (user: string) => as(user)(hold(Effect.void))

describe("Lakebase", () => {
  it.live("fails with PoolExhaustedError when no connection is free within acquireTimeout", () =>
    Effect.gen(function* () {
      const release = yield* holdAs(alice)
      const error = yield* sqlErrorOf(as(bob)(who))
      assert.instanceOf(error.reason.cause, Lakebase.PoolExhaustedError)
      yield* release
      assert.strictEqual(yield* as(bob)(who), bob)
      yield* settled
    }).pipe(
      Effect.scoped,
      Effect.provide(database({ maxConnections: 2, maxConnectionsService: 1, acquireTimeout: "4 seconds" }))
    )
  )

  it.live("serves other callers while 20 transactions of one user wait at maxConnectionsPerUser", () =>
    Effect.gen(function* () {
      const { stats } = yield* Lakebase.Lakebase
      const sql = yield* SqlClient.SqlClient
      const transaction = sql.withTransaction(who)
      const releases = yield* Effect.all([holdAs(alice), holdAs(alice)])
      const waiting = yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.forkScoped(as(alice)(transaction)))
      yield* eventually(Effect.map(stats, ({ users }) => users.waiting === 20))
      assert.strictEqual(yield* as(bob)(who), bob)
      // One of the three is for statements, and for what is inside of the transactions.
      assert.strictEqual(yield* as(alice)(who), alice)
      assert.strictEqual(yield* who, "service")
      assert.strictEqual((yield* stats).users.waiting, 20)
      yield* Effect.all(releases)
      for (const fiber of waiting) assert.strictEqual(yield* Fiber.join(fiber), alice)
      yield* settled
    }).pipe(
      Effect.scoped,
      Effect.provide(database({ maxConnections: 8, maxConnectionsService: 1, maxConnectionsPerUser: 3 }))
    )
  )

  it.live("keeps a fifth of the connections for the service principal when users fill the rest", () =>
    Effect.gen(function* () {
      const { stats } = yield* Lakebase.Lakebase
      const sql = yield* SqlClient.SqlClient
      // Two of the eight for users are reserved for statements and nested calls.
      const releases = yield* Effect.forEach(people(6), holdAs)
      const error = yield* sqlErrorOf(as("u6@example.com")(sql.withTransaction(who)))
      assert.instanceOf(error.reason.cause, Lakebase.PoolExhaustedError)
      assert.include(error.message, "maxConnections is 10")
      assert.strictEqual(yield* as("u6@example.com")(who), "u6@example.com")
      assert.strictEqual(yield* who, "service")
      assert.strictEqual((yield* stats).users.total, 7)
      yield* Effect.all(releases)
      yield* settled
    }).pipe(Effect.scoped, Effect.provide(database({ maxConnections: 10, acquireTimeout: "4 seconds" }, people(7))))
  )

  it.live("serves users in order of arrival when they wait for one connection", () =>
    Effect.gen(function* () {
      const { stats } = yield* Lakebase.Lakebase
      const sql = yield* SqlClient.SqlClient
      const release = yield* holdAs("u0@example.com")
      const order: Array<string> = []
      const fibers: Array<Fiber.Fiber<void, unknown>> = []
      // One connection for all of them; the first has been here and has it.
      for (const user of ["u1@example.com", "u0@example.com", "u2@example.com", "u0@example.com", "u3@example.com"]) {
        fibers.push(
          yield* Effect.forkScoped(as(user)(sql.withTransaction(Effect.map(who, (name) => void order.push(name)))))
        )
        yield* eventually(Effect.map(stats, ({ users }) => users.waiting === fibers.length))
      }
      yield* release
      yield* Effect.forEach(fibers, Fiber.join)
      // u0 uses the connection that it has already, which makes no other user wait.
      assert.deepStrictEqual(
        order.filter((name) => name !== "u0@example.com"),
        ["u1@example.com", "u2@example.com", "u3@example.com"]
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(database({ maxConnections: 2, maxConnectionsService: 1, acquireTimeout: "30 seconds" }, people(4)))
    )
  )

  it.live("waits for a connection slot when other clients have filled the server", () =>
    Effect.gen(function* () {
      const { postgres, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
      const { stats } = yield* Lakebase.Lakebase
      const password = yield* token(servicePrincipal.clientId)
      const other = PgConnection.make({ ...postgres, username: servicePrincipal.clientId, password })
      const others = yield* Scope.make()
      const full = (error: SqlError.SqlError) =>
        String((error.reason.cause as { readonly code?: unknown }).code) === "53300"
      const filled = yield* Scope.provide(other, others).pipe(Effect.forever, Effect.flip)
      assert.isTrue(full(filled), String(filled))
      const fibers = yield* Effect.forEach([alice, bob, alice], (user) => Effect.forkScoped(as(user)(who)))
      yield* eventually(Effect.map(stats, ({ users }) => users.total === 3))
      // During these logins the server refuses the waiting calls as well.
      for (let i = 0; i < 30; i++) assert.isTrue(full(yield* Effect.flip(Effect.scoped(other))))
      for (const fiber of fibers) assert.isUndefined(fiber.pollUnsafe())
      yield* Scope.close(others, Exit.void)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), [alice, bob, alice])
    }).pipe(
      Effect.scoped,
      Effect.provide(
        lakebase().pipe(
          Layer.provideMerge(serviceContext()),
          Layer.provideMerge(LocalWorkspace.layer({ maxConnections: 20 }))
        )
      )
    )
  )

  it.live(
    "rarely evicts a connection when 20 users share 20 connections",
    () =>
      Effect.gen(function* () {
        const { stats } = yield* Lakebase.Lakebase
        const users = people(20)
        const each = (user: string) => Effect.map(as(user)(who), (name) => assert.strictEqual(name, user))
        yield* Effect.forEach(users, each, { concurrency: 20 })
        const before = (yield* stats).users
        assert.strictEqual(before.total, 20)
        const queries = yield* Effect.forEach(Array.from({ length: 2_000 }), () => Random.choice(users))
        const [took] = yield* Effect.timed(Effect.forEach(queries, each, { concurrency: 20 }))
        // Some for each second that somebody does not come, hence the more the slower the machine; without the rule that
        // a connection has to be cold, every other query takes one.
        const cold = users.length * Duration.toSeconds(took)
        assert.isBelow((yield* stats).users.evictions - before.evictions, queries.length / 10 + cold)
      }).pipe(
        Effect.scoped,
        // Two are reserved for nested calls.
        Effect.provide(database({ maxConnections: 23, maxConnectionsService: 1 }, people(20)))
      ),
    // They take as long as the machine needs for them.
    { timeout: 300_000 }
  )

  it.live(
    "completes 200 pairs of nested transactions on a budget of 6 connections",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const users = people(8)
        const nested = (user: string, other: string) =>
          Effect.all([
            // The service principal's, with a user's in it, and the other way round.
            sql.withTransaction(Effect.andThen(who, as(user)(sql.withTransaction(who)))),
            as(user)(sql.withTransaction(Effect.andThen(who, as(other)(who))))
          ])
        const names = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, i) => [users[i % 8]!, users[(i + 1 + (i >> 3)) % 8]!] as const),
          ([user, other]) => Effect.map(nested(user, other), (names) => assert.deepStrictEqual(names, [user, other])),
          { concurrency: 30 }
        )
        assert.strictEqual(names.length, 200)
        yield* settled
        yield* stays(6)
      }).pipe(
        Effect.scoped,
        Effect.provide(database({ maxConnections: 6, maxConnectionsService: 2, acquireTimeout: "1 minute" }, people(8)))
      ),
    { timeout: 300_000 }
  )
})
