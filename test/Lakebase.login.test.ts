import { PgConnection } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Lakebase } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Predicate, Redacted } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { lakebase, who } from "./fixtures/lakebaseClient.ts"
import { answer, asked, door, misbehave, silent, sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { serviceContext, Workspace } from "./fixtures/workspace.ts"

const carol = "carol@example.com"

layer(
  serviceContext().pipe(
    Layer.provideMerge(LocalWorkspace.layer({ users: [alice, bob, carol].map((userName) => ({ userName })) }))
  ),
  {
    timeout: "60 seconds",
    excludeTestServices: true
  }
)("Lakebase", (it) => {
  /** Has Postgres look at the user's password by itself, as Lakebase does. */
  const asksItself = Effect.fnUntraced(function* (user: string, password: string) {
    const { administer, postgres } = yield* LocalWorkspace.LocalWorkspace
    yield* administer(`
      ALTER ROLE "${user}" PASSWORD '${password}';
      DO $$
        DECLARE
          file text := current_setting('hba_file');
          rules text[] := string_to_array(rtrim(pg_read_file(file), E'\\n'), E'\\n');
        BEGIN
          EXECUTE format('COPY (SELECT unnest(%L::text[])) TO %L', array_prepend('host all "${user}" all scram-sha-256', rules), file);
          PERFORM pg_reload_conf();
        END $$`)
    const refused = PgConnection.make({ ...postgres, username: user, password: Redacted.make("wrong") }).pipe(
      Effect.scoped,
      Effect.flip,
      Effect.map(({ reason }) => Predicate.hasProperty(reason.cause, "code") && reason.cause.code === "28P01")
    )
    yield* eventually(refused)
  })
  const far = "2999-01-01T00:00:00Z"

  it.effect("logs in with a second token when Postgres rejects the first (28P01)", () =>
    Effect.gen(function* () {
      yield* asksItself(alice, "right")
      const { logins, port } = yield* door
      const before = yield* asked
      yield* misbehave({ ...answer("wrong", far), times: 1 })
      yield* misbehave(answer("right", far))
      assert.strictEqual(yield* Effect.provide(as(alice)(who), lakebase({ port })), alice)
      assert.deepStrictEqual([(yield* asked) - before, yield* logins], [2, 2])
    }).pipe(Effect.scoped)
  )

  it.effect("fails with LoginError when Postgres rejects two tokens (28P01)", () =>
    Effect.gen(function* () {
      yield* asksItself(bob, "right")
      const { logins, port } = yield* door
      const before = yield* asked
      yield* misbehave(answer("wrong", far))
      const { isRetryable, reason } = yield* Effect.provide(sqlErrorOf(as(bob)(who)), lakebase({ port }))
      assert.instanceOf(reason.cause, Lakebase.LoginError)
      assert.match(reason.cause.message, /password authentication failed.*Sign in to the app again$/)
      assert.isFalse(isRetryable)
      assert.deepStrictEqual([(yield* asked) - before, yield* logins], [2, 2])
    }).pipe(Effect.scoped)
  )

  it.effect("fails with MissingRoleError after one token and one login when the role is missing", () =>
    Effect.gen(function* () {
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      yield* administer(`DROP ROLE "${carol}"`)
      const { logins, port } = yield* door
      const before = yield* asked
      const { reason } = yield* Effect.provide(sqlErrorOf(as(carol)(who)), lakebase({ port }))
      assert.instanceOf(reason.cause, Lakebase.MissingRoleError)
      assert.deepStrictEqual([(yield* asked) - before, yield* logins], [1, 1])
    }).pipe(Effect.scoped)
  )
})

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("gives up an unanswered login after acquireTimeout, and frees its place", () =>
    Effect.gen(function* () {
      const { logins, port } = yield* silent
      const run = Effect.gen(function* () {
        const { isRetryable, reason } = yield* sqlErrorOf(as(alice)(who))
        assert.instanceOf(reason.cause, Lakebase.PoolExhaustedError)
        assert.match(reason.cause.message, /within 4s: the database does not respond/)
        assert.isTrue(isRetryable)
        assert.strictEqual(yield* logins, 1)
        const { stats } = yield* Lakebase.Lakebase
        yield* eventually(Effect.map(stats, ({ users }) => users.total === 0))
      })
      yield* Effect.provide(run, lakebase({ port, acquireTimeout: "4 seconds" }))
    }).pipe(Effect.scoped)
  )
})
