import { PgConnection } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { asService, Lakebase } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { eventually } from "./fixtures/eventually.ts"
import { lakebase, whoThrough } from "./fixtures/lakebaseClient.ts"
import { sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { as } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

/** How many times as much as in CI: 6 are 300 users on 40 connections, and two processes on 60. */
const Scale = Config.withDefault(Config.Int("LAKEBASE_TEST_SCALE"), 1)

// Postgres keeps 3 of its connections for superusers.
const reserved = 3

const people = (count: number) => Array.from({ length: count }, (_, i) => `u${i}@example.com`)

/** A server that allows so many connections, and an application, once or twice, that would have more. */
const App = (connections: number, users: number) =>
  Layer.unwrap(
    Effect.map(Scale, (scale) =>
      serviceContext().pipe(
        Layer.provideMerge(
          LocalWorkspace.layer({
            maxConnections: connections * scale + reserved,
            users: people(users * scale).map((userName) => ({ userName }))
          })
        )
      )
    )
  )

const process = (options?: Partial<Lakebase.Options>) => Layer.build(Layer.fresh(lakebase(options)))

type Process = Effect.Success<ReturnType<typeof process>>

const whoIn = (process: Process) => whoThrough(Context.get(process, SqlClient.SqlClient))

const statsOf = (process: Process) => Context.get(process, Lakebase.Lakebase).stats

/** Each user's call, with one of the application in it, twice and all at once; returns whom the database saw. */
const visit = (processes: ReadonlyArray<Process>, users: ReadonlyArray<string>) =>
  Effect.forEach(
    [...users, ...users],
    (user, i) => {
      const who = whoIn(processes[i % processes.length]!)
      return Effect.all([as(user)(who), asService(who)]).pipe(
        Effect.map(([seen, app]) => `${seen === user} ${app}`),
        Effect.catch((error) => Effect.succeed(error.message))
      )
    },
    { concurrency: "unbounded" }
  )

/** Takes what the server still allows, until the scope closes. */
const fill = Effect.gen(function* () {
  const { postgres, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
  const password = yield* token(servicePrincipal.clientId)
  const other = PgConnection.make({ ...postgres, username: servicePrincipal.clientId, password })
  yield* Effect.flip(Effect.forever(other))
})

/** Begins a transaction of this user's, which goes on until the scope closes. */
const hold = Effect.fnUntraced(function* (process: Process, user: string) {
  const held = yield* Deferred.make<void>()
  const { withTransaction } = Context.get(process, SqlClient.SqlClient)
  yield* Effect.forkScoped(as(user)(withTransaction(Effect.andThen(Deferred.succeed(held, undefined), Effect.never))))
  yield* Deferred.await(held)
})

describe("Lakebase on a server that allows fewer connections than its budget", () => {
  it.live("answers each of 100 calls at once on 7 connections", () =>
    Effect.gen(function* () {
      const one = yield* process()
      const answers = yield* visit([one], people(50 * (yield* Scale)))
      assert.deepStrictEqual([...new Set(answers)], ["true service"])
    }).pipe(Effect.scoped, Effect.provide(App(7, 50)))
  )

  it.live("answers each of 100 calls at once of two processes on 10 connections", () =>
    Effect.gen(function* () {
      const two = [yield* process(), yield* process()]
      const answers = yield* visit(two, people(50 * (yield* Scale)))
      assert.deepStrictEqual([...new Set(answers)], ["true service"])
    }).pipe(Effect.scoped, Effect.provide(App(10, 50)))
  )

  it.live("waits for a full server, blames no budget for it, and grows again when there is room", () =>
    Effect.gen(function* () {
      const users = people(8)
      const others = yield* Scope.make()
      const patient = yield* process()
      const hasty = yield* process({ acquireTimeout: "600 millis" })
      // One of them has a connection, and one has none.
      yield* hold(patient, users[0]!)
      yield* hold(hasty, users[0]!)
      yield* Scope.provide(fill, others)
      for (const [app, user, count] of [
        [hasty, users[1]!, 1],
        [hasty, undefined, 0]
      ] as const) {
        const error = yield* sqlErrorOf(user === undefined ? whoIn(app) : as(user)(whoIn(app)))
        assert.instanceOf(error.reason.cause, Lakebase.PoolExhaustedError)
        assert.include(error.message, `the database allows this process ${count} connections now`)
        assert.notInclude(error.message, "maxConnections")
      }
      const waiting = yield* Effect.forEach(users.slice(1), (user) => Effect.forkScoped(hold(patient, user)))
      yield* eventually(Effect.map(statsOf(patient), (_) => _.users.waiting + _.users.total === users.length))
      yield* Scope.close(others, Exit.void)
      yield* Effect.forEach(waiting, Fiber.join)
      assert.strictEqual((yield* statsOf(patient)).users.total, users.length)
    }).pipe(Effect.scoped, Effect.provide(App(14, 8)))
  )

  it.live("gives the application and its users their parts of the connections that the server allows", () =>
    Effect.gen(function* () {
      const one = yield* process()
      const users = people(6)
      // Users' calls leave no room, and those of the application have to wait for it.
      const stop = yield* Deferred.make<void>()
      const busy = yield* Effect.forEach(users, (user) =>
        Effect.forkScoped(
          Effect.raceFirst(Effect.forever(as(user)(whoIn(one))), Deferred.await(stop) as Effect.Effect<never>)
        )
      )
      yield* eventually(Effect.map(statsOf(one), (_) => _.users.total >= 5))
      assert.strictEqual(yield* asService(whoIn(one)), "service")
      yield* Deferred.succeed(stop, undefined)
      yield* Effect.forEach(busy, Fiber.join)
    }).pipe(Effect.scoped, Effect.provide(App(5, 6)))
  )

  it.live("ends calls within a few seconds that keep every connection of the server and wait for one", () =>
    Effect.gen(function* () {
      const one = yield* process({ acquireTimeout: "1 minute" })
      const sql = Context.get(one, SqlClient.SqlClient)
      // Each user's stream keeps a connection, and waits for one of the application's at each row.
      const rows = Stream.mapEffect(sql`SELECT generate_series(1, 3) AS n`.stream, () => asService(sql`SELECT 1`))
      const ask = (user: string) => as(user)(Effect.exit(Stream.runCount(rows)))
      const [took, exits] = yield* Effect.timed(Effect.forEach(people(20), ask, { concurrency: "unbounded" }))
      assert.isBelow(Duration.toSeconds(took), 30)
      const failures = exits.filter(Exit.isFailure).map(String)
      for (const failure of failures)
        assert.match(failure, /would wait for a connection forever.*the database allows this process/)
      assert.isBelow(failures.length, exits.length)
      // Afterwards the connections serve again.
      assert.deepStrictEqual(
        yield* visit([one], people(20)),
        Array.from({ length: 40 }, () => "true service")
      )
    }).pipe(Effect.scoped, Effect.provide(App(4, 20)))
  )

  it.live("names the limit that refused a call, also when its last attempt is not answered", () =>
    Effect.gen(function* () {
      const { administer, postgresServer } = yield* LocalWorkspace.LocalWorkspace
      const user = "u0@example.com"
      const one = yield* process({ acquireTimeout: "3 seconds" })
      yield* administer(`ALTER ROLE "${user}" CONNECTION LIMIT 2`)
      yield* Effect.all([hold(one, user), hold(one, user)], { concurrency: 2 })
      const call = yield* Effect.forkScoped(sqlErrorOf(as(user)(whoIn(one))))
      yield* eventually(Effect.map(statsOf(one), ({ users }) => users.waiting === 1))
      yield* Effect.acquireUseRelease(
        postgresServer.freeze,
        () =>
          Effect.gen(function* () {
            const error = yield* Fiber.join(call)
            assert.match(error.message, /allows this role 2 connections .*CONNECTION LIMIT/)
          }),
        () => postgresServer.thaw
      )
    }).pipe(Effect.scoped, Effect.provide(App(20, 1)))
  )

  it.live("keeps to a role's CONNECTION LIMIT for that user alone, and names it", () =>
    Effect.gen(function* () {
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      const [user, other] = ["u0@example.com", "u1@example.com"]
      const one = yield* process({ acquireTimeout: "3 seconds" })
      yield* administer(`ALTER ROLE "${user}" CONNECTION LIMIT 1`)
      const calls = Array.from({ length: 10 }, () => as(user)(whoIn(one)))
      assert.deepStrictEqual([...new Set(yield* Effect.all(calls, { concurrency: "unbounded" }))], [user])
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* hold(one, user)
          const [error] = yield* Effect.all(
            [sqlErrorOf(as(user)(whoIn(one))), Effect.all([hold(one, other), hold(one, other)])],
            { concurrency: 2 }
          )
          assert.match(error.message, /allows this role 1 connections .*CONNECTION LIMIT/)
          assert.notInclude(error.message, "maxConnections")
        })
      )
      yield* administer(`ALTER ROLE "${user}" CONNECTION LIMIT 2`)
      yield* hold(one, user)
      yield* hold(one, user)
    }).pipe(Effect.scoped, Effect.provide(App(20, 2)))
  )
})
