import { assert, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, Layer } from "effect"
import { freePort, run } from "./fixtures/child.ts"
import { eventually, Watcher } from "./fixtures/lakebaseFaults.ts"
import * as Soak from "./soak/watcher.ts"

const users = Array.from({ length: 12 }, (_, i) => `u${i}@example.com`)

const Workspace = Watcher.layer.pipe(
  Layer.provideMerge(LocalWorkspace.layer({ users: users.map((userName) => ({ userName })) }))
)

it.live("SIGTERM under load: what is in flight is written and answered, and the exit code is 0 within 10 s", () =>
  Effect.gen(function* () {
    const { env, headers } = yield* LocalWorkspace.LocalWorkspace
    const { busy } = yield* Watcher
    const { rows } = yield* Soak.make(Duration.hours(1))
    const port = yield* freePort
    const app = yield* run("../soak/app.ts", [], {
      ...env,
      PGAPPNAME: "effect-databricks",
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
    // Nobody but the application ends this one.
    const clock = yield* Effect.flatMap(sent(users[0]!, "/clock"), (_) => Effect.promise(() => _))
    const cut = clock.text().then(
      () => false,
      () => true
    )
    const writes = yield* Effect.forEach(users, (user) =>
      Effect.map(sent(user, "/orders", { key: `of ${user}`, pause: 2 }), (answer) => ({ user, answer }))
    )
    yield* eventually(Effect.map(busy, (n) => n >= users.length))

    const [took] = yield* Effect.timed(Effect.andThen(app.kill("SIGTERM"), app.exit)).pipe(
      Effect.tap(([, code]) => Effect.sync(() => assert.strictEqual(code, 0, app.output.stderr)))
    )
    assert.isAtMost(Duration.toMillis(took), 10_000)
    for (const { answer, user } of writes) {
      const response = yield* Effect.promise(() => answer)
      assert.strictEqual(response.status, 201)
      assert.deepStrictEqual(yield* Effect.promise(() => response.json()), { caller: user })
    }
    assert.isTrue(yield* Effect.promise(() => cut))
    const written = (yield* rows).map(({ key, owner }) => `${key} as ${owner}`).toSorted()
    assert.deepStrictEqual(written, users.map((user) => `of ${user} as ${user}`).toSorted())
  }).pipe(Effect.scoped, Effect.provide(Workspace))
)
