import { assert, layer } from "@effect/vitest"
import { Lakebase, provideUser } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Exit, Fiber } from "effect"
import { SqlClient } from "effect/sql"
import { eventually } from "./fixtures/eventually.ts"
import { asked, database, hold, pidOf, settled, Watcher } from "./fixtures/lakebaseFaults.ts"
import { alice, bob } from "./fixtures/people.ts"

const carol = "carol@example.com"

layer(database({ maxConnectionsPerUser: 3 }, [alice, bob, carol]), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Lakebase", (it) => {
  it.effect("uses the same connections for two tokens of one user", () =>
    Effect.gen(function* () {
      const { headers } = yield* LocalWorkspace.LocalWorkspace
      const sql = yield* SqlClient.SqlClient
      const pids = (tokens: ReadonlyArray<Record<string, string>>) =>
        Effect.forEach(Array.from({ length: 1_000 }), (_, i) => provideUser(pidOf(sql), tokens[i % tokens.length]!), {
          concurrency: 10
        })
      const first = yield* headers(alice)
      const withOne = new Set(yield* pids([first]))
      const before = yield* asked
      const withTwo = new Set(yield* pids([first, yield* headers(alice)]))
      assert.deepStrictEqual([...withTwo].toSorted(), [...withOne].toSorted())
      assert.isAtMost(withOne.size, 3)
      assert.strictEqual(yield* asked, before)
      const { peak } = yield* Watcher
      assert.isAtMost(yield* peak, 3)
    })
  )

  it.effect("gives a renamed user a new connection in the new role, and never the old role's idle one", () =>
    Effect.gen(function* () {
      const { headers, updateUser } = yield* LocalWorkspace.LocalWorkspace
      const sql = yield* SqlClient.SqlClient
      const renamed = "caroline@example.com"
      const seen = Effect.map(
        sql<{ role: string; pid: number }>`SELECT current_user AS role, pg_backend_pid() AS pid`,
        ([row]) => row!
      )
      const before = yield* headers(carol)
      const first = yield* provideUser(seen, before)
      yield* updateUser(carol, { userName: renamed })
      const after = yield* headers(renamed)
      assert.strictEqual(after["x-forwarded-user"], before["x-forwarded-user"])
      const [second, third] = yield* Effect.all([provideUser(seen, after), provideUser(seen, after)])
      assert.deepStrictEqual([first.role, second.role], [carol, renamed])
      assert.notStrictEqual(second.pid, first.pid)
      assert.deepStrictEqual(third, second)
      // In a transaction of the old role, too.
      const inside = yield* provideUser(sql.withTransaction(provideUser(seen, after)), before)
      assert.strictEqual(inside.role, renamed)
    })
  )

  it.effect("fails no running or waiting query when a user's token is replaced", () =>
    Effect.gen(function* () {
      const { headers } = yield* LocalWorkspace.LocalWorkspace
      const { stats } = yield* Lakebase.Lakebase
      const sql = yield* SqlClient.SqlClient
      const release = yield* hold(sql`SELECT pg_advisory_xact_lock(34)`)
      const old = yield* headers(bob, { ttl: "4 seconds" })
      const slow = sql<{ pid: number }>`SELECT pg_backend_pid() AS pid FROM pg_advisory_xact_lock_shared(34)`
      // Three run, and six wait until the old token has expired.
      const running = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 9 }, () => provideUser(slow, old)),
          { concurrency: "unbounded" }
        )
      )
      yield* eventually(Effect.map(stats, ({ users }) => users.waiting === 6))
      const rotated = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 20 }),
          () => Effect.flatMap(headers(bob), (next) => provideUser(pidOf(sql), next)),
          { concurrency: "unbounded" }
        )
      )
      yield* eventually(Effect.map(Effect.exit(provideUser(Effect.void, old)), Exit.isFailure))
      yield* release
      const pids = (yield* Fiber.join(running)).map(([row]) => row!.pid)
      assert.strictEqual(pids.length, 9)
      assert.strictEqual(new Set([...pids, ...(yield* Fiber.join(rotated))]).size, 3)
      yield* settled
    }).pipe(Effect.scoped)
  )
})
