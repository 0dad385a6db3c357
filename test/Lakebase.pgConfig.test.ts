import { assert, layer } from "@effect/vitest"
import { Lakebase, provideUser } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Redacted } from "effect"
import { SqlError } from "effect/sql"
import { Kysely, PostgresDialect } from "kysely"
import { Pool } from "pg"
import { asked, credentials } from "./fixtures/lakebaseFaults.ts"
import { Database, lakebase } from "./fixtures/lakebaseClient.ts"
import { alice, requestOf } from "./fixtures/people.ts"

interface DrizzleRunner {
  readonly execute: (query: string) => Promise<{ readonly rows: ReadonlyArray<unknown> }>
}

interface DrizzleModule {
  readonly drizzle: (
    pool: Pool
  ) => DrizzleRunner & { readonly transaction: <A>(f: (tx: DrizzleRunner) => Promise<A>) => Promise<A> }
}

// Its declarations do not compile with `skipLibCheck: false`: without a literal name the compiler does not read them.
const drizzleName: string = "drizzle-orm/node-postgres"
const drizzleModule = Effect.promise((): Promise<DrizzleModule> => import(drizzleName))

/** A pool of the driver's own, of this application. */
const makePool = Effect.gen(function* () {
  const config = yield* Lakebase.pgConfig
  return yield* Effect.acquireRelease(
    Effect.sync(() => new Pool({ ...config, max: 4 })),
    (pool) => Effect.promise(() => pool.end())
  )
})

const run = <A>(evaluate: () => Promise<A>) => Effect.tryPromise({ try: evaluate, catch: (error) => error })

const clientId = LocalWorkspace.LocalWorkspace.useSync((_) => _.servicePrincipal.clientId)

layer(Database, { timeout: "60 seconds", excludeTestServices: true })("Lakebase.pgConfig", (it) => {
  it.effect("logs pg in as the service principal with one token, also for a user's call", () =>
    Effect.gen(function* () {
      const before = yield* asked
      const pool = yield* provideUser(makePool, yield* requestOf(alice))
      const who = run(() =>
        pool.query("SELECT current_user AS who, current_setting('application_name') AS app, pg_sleep(0.05)")
      )
      const results = yield* Effect.all([who, who, who, who], { concurrency: 4 })
      for (const { rows } of results) assert.deepInclude(rows[0], { who: yield* clientId, app: "effect-databricks" })
      assert.strictEqual(pool.totalCount, 4)
      assert.isAtMost((yield* asked) - before, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("connects Drizzle as the service principal", () =>
    Effect.gen(function* () {
      const { drizzle } = yield* drizzleModule
      const db = drizzle(yield* makePool)
      const owner = yield* clientId
      const rows = yield* run(() =>
        db.transaction(async (tx) => {
          await tx.execute("INSERT INTO notes (body) VALUES ('from Drizzle')")
          return (await tx.execute("SELECT owner, body FROM notes WHERE body = 'from Drizzle'")).rows
        })
      )
      assert.deepStrictEqual(rows, [{ owner, body: "from Drizzle" }])
    }).pipe(Effect.scoped)
  )

  it.effect("connects Kysely as the service principal", () =>
    Effect.gen(function* () {
      interface Tables {
        notes: { owner: string; body: string }
      }
      const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: yield* makePool }) })
      const owner = yield* clientId
      yield* run(() => db.insertInto("notes").values({ owner, body: "from Kysely" }).execute())
      const rows = yield* run(() =>
        db
          .transaction()
          .execute((tx) => tx.selectFrom("notes").select(["owner", "body"]).where("body", "=", "from Kysely").execute())
      )
      assert.deepStrictEqual(rows, [{ owner, body: "from Kysely" }])
    }).pipe(Effect.scoped)
  )

  it.effect("rejects password() with SqlError when no token is available, and shows no secret", () =>
    Effect.gen(function* () {
      const { misbehave, postgres } = yield* LocalWorkspace.LocalWorkspace
      yield* misbehave({ path: credentials, kind: "answer", status: 403 })
      const config = yield* Lakebase.pgConfig.pipe(Effect.provide(lakebase().pipe(Layer.fresh)))
      const error = yield* Effect.flip(run(() => config.password()))
      assert.isTrue(SqlError.isSqlError(error), String(error))
      assert.notMatch(JSON.stringify(config), /password|eyJ/)
      const local = yield* Lakebase.pgConfig.pipe(
        Effect.provide(
          Layer.fresh(
            Lakebase.layer({ ...postgres, user: "owner", password: Redacted.make("hush"), ssl: { ca: "ca" } })
          )
        )
      )
      assert.deepInclude(local, { ...postgres, user: "owner", ssl: { ca: "ca" } })
      assert.strictEqual(yield* run(() => local.password()), "hush")
      assert.notInclude(JSON.stringify(local), "hush")
    }).pipe(Effect.scoped)
  )
})
