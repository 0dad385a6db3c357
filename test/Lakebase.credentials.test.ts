import { assert, layer } from "@effect/vitest"
import { DatabricksError, Lakebase, provideUser } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { eventually } from "./fixtures/eventually.ts"
import {
  answer,
  asked,
  credentials,
  database,
  misbehave,
  settled,
  sqlErrorOf,
  stays
} from "./fixtures/lakebaseFaults.ts"
import { who } from "./fixtures/lakebaseClient.ts"
import { as, bob, requestOf } from "./fixtures/people.ts"

const isDatabricksError = (error: unknown): error is DatabricksError.DatabricksError =>
  error instanceof DatabricksError.DatabricksError

layer(
  database(
    { acquireTimeout: "4 seconds" },
    Array.from({ length: 20 }, (_, i) => `u${i}@example.com`)
  ),
  {
    timeout: "60 seconds",
    excludeTestServices: true
  }
)("Lakebase", (it) => {
  // Each test has a user of its own, who has not logged in before.
  let next = 0
  const newUser = () => `u${next++}@example.com`

  it.effect("fetches one token for 3 connections that open at once, and reuses it", () =>
    Effect.gen(function* () {
      const user = newUser()
      const before = yield* asked
      const sql = yield* SqlClient.SqlClient
      yield* Effect.all(
        Array.from({ length: 3 }, () => sql`SELECT pg_sleep(0.2)`.pipe(as(user))),
        { concurrency: 3 }
      )
      const { stats } = yield* Lakebase.Lakebase
      assert.strictEqual((yield* stats).users.total, 3)
      assert.strictEqual((yield* asked) - before, 1)
      yield* as(user)(who)
      assert.strictEqual((yield* asked) - before, 1)
    })
  )

  it.effect("retries a rejected login once with a new token, and the call succeeds", () =>
    Effect.gen(function* () {
      const user = newUser()
      const before = yield* asked
      yield* misbehave({ ...answer("not.a.token", "2999-01-01T00:00:00Z"), times: 1 })
      assert.strictEqual(yield* as(user)(who), user)
      assert.strictEqual((yield* asked) - before, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("fetches one new token for 3 logins that are rejected at once", () =>
    Effect.gen(function* () {
      const user = newUser()
      const before = yield* asked
      yield* misbehave({ ...answer("not.a.token", "2999-01-01T00:00:00Z"), times: 1 })
      const sql = yield* SqlClient.SqlClient
      yield* Effect.all(
        Array.from({ length: 3 }, () => sql`SELECT pg_sleep(0.2)`.pipe(as(user))),
        { concurrency: 3 }
      )
      assert.strictEqual((yield* asked) - before, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("fails with LoginError after two rejected tokens", () =>
    Effect.gen(function* () {
      const user = newUser()
      const before = yield* asked
      yield* misbehave(answer("not.a.token", "2999-01-01T00:00:00Z"))
      const error = yield* sqlErrorOf(as(user)(who))
      assert.instanceOf(error.reason.cause, Lakebase.LoginError)
      assert.include(error.reason.cause.message, user)
      assert.isFalse(error.isRetryable)
      assert.strictEqual((yield* asked) - before, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("fails with LoginError when the user's own token has expired", () =>
    Effect.gen(function* () {
      const user = newUser()
      yield* misbehave({
        kind: "answer",
        status: 401,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ error_code: "UNAUTHENTICATED", message: "Token is expired" })
      })
      const error = yield* sqlErrorOf(as(user)(who))
      assert.instanceOf(error.reason.cause, Lakebase.LoginError)
      assert.include(error.reason.cause.message, "Token is expired")
      assert.isFalse(error.isRetryable)
    }).pipe(Effect.scoped)
  )

  it.effect("fetches again for a call with another token of the user, when the first one's was refused", () =>
    Effect.gen(function* () {
      const user = newUser()
      const before = yield* asked
      yield* misbehave({ kind: "delay", duration: "200 millis", times: 1 })
      yield* misbehave({ kind: "answer", status: 401, body: `{"message":"Token is expired"}`, times: 1 })
      const old = yield* requestOf(user)
      const refused = yield* Effect.forkChild(
        Effect.all([provideUser(who, old), provideUser(who, old)].map(sqlErrorOf), { concurrency: 2 })
      )
      yield* eventually(Effect.map(asked, (now) => now > before))
      assert.strictEqual(yield* as(user)(who), user)
      for (const { reason } of yield* Fiber.join(refused)) assert.instanceOf(reason.cause, Lakebase.LoginError)
      // Calls with the same token share its refusal.
      assert.strictEqual((yield* asked) - before, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("fails with MissingRoleError, with the statement to run, when the role is missing", () =>
    Effect.gen(function* () {
      const user = newUser()
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      yield* administer(`DROP ROLE "${user}"`)
      const error = yield* sqlErrorOf(as(user)(who))
      assert.instanceOf(error.reason.cause, Lakebase.MissingRoleError)
      assert.strictEqual(error.reason.cause.role, user)
      assert.include(error.reason.cause.message, `databricks_create_role('${user}'`)
      assert.isFalse(error.isRetryable)
      yield* administer(`CREATE ROLE "${user}" LOGIN`)
      assert.strictEqual(yield* as(user)(who), user)
    })
  )

  for (const status of [429, 503]) {
    it.effect(`does not retry a ${status} of the credentials endpoint if Retry-After exceeds acquireTimeout`, () =>
      Effect.gen(function* () {
        const user = newUser()
        const before = yield* asked
        yield* misbehave({ kind: "answer", status, headers: { "retry-after": "60" } })
        const error = yield* sqlErrorOf(as(user)(who))
        assert.isTrue(isDatabricksError(error.reason.cause) && error.reason.cause.status === status)
        assert.strictEqual((yield* asked) - before, 1)
      }).pipe(Effect.scoped)
    )
  }

  const garbage: ReadonlyArray<readonly [string, LocalWorkspace.Misbehaviour]> = [
    ["HTML", { kind: "answer", status: 200, body: "<html>Sign in</html>" }],
    ["a truncated body", { kind: "truncate" }],
    ["an empty token", answer("", "2999-01-01T00:00:00Z")],
    ["a token with a NUL", answer("to\0ken", "2999-01-01T00:00:00Z")],
    ["an invalid expiry", answer("token", "soon")]
  ]
  for (const [what, fault] of garbage) {
    it.effect(`fails with InvalidResponseError when the credentials endpoint sends ${what}`, () =>
      Effect.gen(function* () {
        yield* misbehave(fault)
        const error = yield* sqlErrorOf(as("u15@example.com")(who))
        assert.isTrue(
          isDatabricksError(error.reason.cause) && error.reason.cause.reason._tag === "InvalidResponseError"
        )
      }).pipe(Effect.scoped)
    )
  }

  for (const [kind, what] of [
    ["hang", "does not answer"],
    ["drop", "drops the connection"]
  ] as const) {
    it.effect(`fails with ConnectionError when the credentials endpoint ${what}`, () =>
      Effect.gen(function* () {
        yield* misbehave({ kind })
        const error = yield* sqlErrorOf(as("u16@example.com")(who))
        assert.isTrue(isDatabricksError(error.reason.cause) && error.reason.cause.reason._tag === "ConnectionError")
        assert.include(error.message, credentials)
        assert.isTrue(error.isRetryable)
      }).pipe(Effect.scoped)
    )
  }

  it.effect("leaks no connection through the login faults of this file", () => Effect.andThen(settled, stays(50)))
})

const clocked = [bob, "429@example.com", "503@example.com", "patient@example.com"]

layer(database({ idleTimeout: "1 minute" }, clocked), { timeout: "60 seconds" })("Lakebase", (it) => {
  it.effect("uses a token until 2 minutes before it expires", () =>
    Effect.gen(function* () {
      const { stats } = yield* Lakebase.Lakebase
      // The clock of the test stands still, the sockets do not.
      const gone = Effect.promise(() => new Promise((resolve) => setImmediate(resolve))).pipe(
        Effect.andThen(stats),
        Effect.repeat({ until: ({ users }) => users.total === 0 })
      )
      const open = as(bob)(who)
      yield* open
      const before = yield* asked
      // 45 minutes on, in steps in which the connection goes.
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("15 minutes")
        yield* gone
        yield* open
      }
      assert.strictEqual(yield* asked, before)
      yield* TestClock.adjust("12 minutes")
      yield* gone
      yield* open
      assert.strictEqual(yield* asked, before)
      yield* TestClock.adjust("2 minutes")
      yield* gone
      yield* open
      assert.strictEqual(yield* asked, before + 1)
    })
  )

  for (const status of [429, 503]) {
    it.effect(`retries a ${status} of the credentials endpoint after its Retry-After`, () =>
      Effect.gen(function* () {
        const { administer } = yield* LocalWorkspace.LocalWorkspace
        const before = yield* asked
        yield* misbehave({ kind: "answer", status, headers: { "retry-after": "3" }, times: 1 })
        const fiber = yield* Effect.forkChild(as(`${status}@example.com`)(who))
        yield* eventually(Effect.map(asked, (_) => _ === before + 1))
        let waited = 0
        for (; (yield* asked) === before + 1; waited += 100) {
          yield* TestClock.adjust("100 millis")
          // Takes as long as a request to the endpoint.
          yield* administer("SELECT 1")
        }
        assert.isAtLeast(waited, 3_000)
        assert.strictEqual(yield* Fiber.join(fiber), `${status}@example.com`)
        assert.strictEqual((yield* asked) - before, 2)
      }).pipe(Effect.scoped)
    )
  }

  it.effect("keeps a token request alive for other calls when the first call is interrupted", () =>
    Effect.gen(function* () {
      const { stats } = yield* Lakebase.Lakebase
      const patient = as("patient@example.com")(who)
      const others = (yield* stats).users.total
      const before = yield* asked
      yield* misbehave({ kind: "delay", duration: "5 seconds", times: 1 })
      const first = yield* Effect.forkChild(patient)
      yield* eventually(Effect.map(asked, (_) => _ === before + 1))
      const second = yield* Effect.forkChild(patient)
      yield* eventually(Effect.map(stats, ({ users }) => users.total === others + 2))
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* Fiber.join(second), "patient@example.com")
      assert.strictEqual(yield* asked, before + 1)
    }).pipe(Effect.scoped)
  )
})
