import { assert, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, Fiber } from "effect"
import { connection, freePort, run } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import * as Soak from "./soak/watcher.ts"

const users = Array.from({ length: 12 }, (_, i) => `u${i}@example.com`)

const Workspace = LocalWorkspace.layer({ users: users.map((userName) => ({ userName })) })

/** Waits until the table of the orders has `count` such locks. */
const locks = (count: number, which: string) =>
  LocalWorkspace.LocalWorkspace.use(({ administer }) =>
    Effect.eventually(
      administer(`
        SELECT 1 / (count(*) = ${count})::int FROM pg_locks
        WHERE relation = 'desk.orders'::regclass AND ${which}`)
    )
  )

it.live(
  "App.runMain answers 12 writes in flight on SIGTERM and exits with 0 within 10 s",
  () =>
    Effect.gen(function* () {
      const { administer, env, headers } = yield* LocalWorkspace.LocalWorkspace
      const { rows } = yield* Soak.make(Duration.hours(1))
      const port = yield* freePort
      const app = yield* run("../soak/app.ts", [], {
        ...env,
        PGAPPNAME: "effect-databricks",
        GRACE_PERIOD: "4 seconds",
        DATABRICKS_APP_PORT: String(port)
      })
      yield* app.port
      const sent = (user: string, path: string, body?: unknown) =>
        Effect.map(headers(user), (headers) =>
          fetch(`http://127.0.0.1:${port}${path}`, {
            headers: { ...headers, "content-type": "application/json" },
            ...(body !== undefined && { method: "POST", body: JSON.stringify(body) })
          })
        )
      // Only the application ends this response, after the grace period.
      const clock = yield* Effect.flatMap(sent(users[0]!, "/clock"), (_) => Effect.promise(() => _))
      const cut = clock.text().then(
        () => false,
        () => true
      )
      // Nothing is written before closing has begun.
      const holding = yield* Effect.forkChild(administer("LOCK TABLE desk.orders IN SHARE MODE; SELECT pg_sleep(600)"))
      yield* locks(1, "granted")
      const writes = yield* Effect.forEach(users, (user) =>
        Effect.map(sent(user, "/orders", { key: `of ${user}`, pause: 0 }), (answer) => ({ user, answer }))
      )
      yield* locks(users.length, "NOT granted")

      const [took, code] = yield* Effect.timed(
        Effect.gen(function* () {
          yield* app.kill("SIGTERM")
          yield* eventually(Effect.isFailure(Effect.scoped(connection(port))))
          yield* Fiber.interrupt(holding)
          return yield* app.exit
        })
      )
      assert.strictEqual(code, 0, app.output.stderr)
      assert.isAtMost(Duration.toMillis(took), 10_000)
      for (const { answer, user } of writes) {
        const response = yield* Effect.promise(() => answer)
        assert.strictEqual(response.status, 201)
        assert.deepStrictEqual(yield* Effect.promise(() => response.json()), { caller: user })
      }
      assert.isTrue(yield* Effect.promise(() => cut))
      const written = (yield* rows).map(({ key, owner }) => `${key} as ${owner}`).toSorted()
      assert.deepStrictEqual(written, users.map((user) => `of ${user} as ${user}`).toSorted())
    }).pipe(Effect.scoped, Effect.provide(Workspace)),
  180_000
)
