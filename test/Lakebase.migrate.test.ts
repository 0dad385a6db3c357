import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, layer } from "@effect/vitest"
import { Lakebase } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber, FileSystem, Layer, Schedule } from "effect"
import { Migrator, SqlClient } from "effect/sql"
import { run } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import { asAlice, Database, lakebase } from "./fixtures/lakebaseClient.ts"

const Application = Layer.merge(Database, NodeFileSystem.layer)

/** The sentence of a migration that fails. */
const refusal = <A, R>(migration: Effect.Effect<A, Lakebase.MigrateError, R>) =>
  Effect.map(Effect.flip(migration), (error) => {
    assert.instanceOf(error, Migrator.MigrationError)
    return error.message
  })

const role = LocalWorkspace.LocalWorkspace.useSync((_) => _.servicePrincipal.clientId)

/** The first column of the rows, as the service principal. */
const column = (query: string) =>
  Lakebase.Lakebase.use(({ client }) => Effect.map(client.unsafe(query).values, (rows) => rows.map(([value]) => value)))

const orders = `
  -- A script of several statements; one has a semicolon.
  CREATE TABLE orders (id int PRIMARY KEY, item text DEFAULT 'a;b');
  CREATE FUNCTION total() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM orders; END;
  INSERT INTO orders VALUES (1);
`

layer(Application, { timeout: "60 seconds", excludeTestServices: true })("Lakebase.migrate", (it) => {
  it.effect("runs each script once, in the order of the numbers, and records it in the application's schema", () =>
    Effect.gen(function* () {
      const scripts = { "0010_more.sql": "INSERT INTO orders VALUES (2)", "2_orders": orders }
      const migrate = Lakebase.migrate({ schema: "once", scripts })
      assert.deepStrictEqual(yield* migrate, [
        [2, "orders"],
        [10, "more"]
      ])
      assert.deepStrictEqual(yield* migrate, [])
      assert.deepStrictEqual(
        yield* Lakebase.migrate({ schema: "once", scripts: { ...scripts, "11_next": "SELECT 1" } }),
        [[11, "next"]]
      )
      assert.deepStrictEqual(yield* column("SELECT item FROM once.orders"), ["a;b", "a;b"])
      assert.deepStrictEqual(
        yield* column("SELECT migration_id FROM once.effect_sql_migrations ORDER BY migration_id"),
        [2, 10, 11]
      )
    })
  )

  it.effect("reads the .sql files of a directory", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      yield* files.writeFileString(`${directory}/0001_orders.sql`, orders)
      yield* files.writeFileString(`${directory}/README.md`, "Not a script")
      assert.deepStrictEqual(yield* Lakebase.migrate({ schema: "files", directory }), [[1, "orders"]])
      yield* files.writeFileString(`${directory}/0002_bad.sql`, "SELECT 1;\n\nSELECT nothing")
      assert.include(
        yield* refusal(Lakebase.migrate({ schema: "files", directory })),
        `${directory}/0002_bad.sql:3 failed as the role "${yield* role}" (column "nothing" does not exist) at SELECT nothing`
      )
    })
  )

  it.effect("names a directory that is missing or has no script", () =>
    Effect.gen(function* () {
      assert.match(
        yield* refusal(Lakebase.migrate({ schema: "files", directory: "no/such" })),
        /^The migrations cannot be read: .*no\/such.*starts at \//
      )
      const directory = yield* FileSystem.FileSystem.use((_) => _.makeTempDirectoryScoped())
      assert.strictEqual(
        yield* refusal(Lakebase.migrate({ schema: "files", directory })),
        `The directory ${directory} has no .sql file: add one such as 0001_orders.sql, or check the path`
      )
    })
  )

  it.effect("runs as the service principal in a user's call, which owns the schema and its tables", () =>
    Effect.gen(function* () {
      yield* asAlice(Lakebase.migrate({ schema: "owned", scripts: { "1_orders": orders } }))
      const owner = "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'owned'"
      assert.deepStrictEqual(yield* column(owner), [yield* role])
      assert.deepStrictEqual(yield* column("SELECT tableowner::text FROM pg_tables WHERE schemaname = 'owned'"), [
        yield* role,
        yield* role
      ])
    })
  )

  it.effect("leaves the search_path of the pool's connections as it was", () =>
    Effect.gen(function* () {
      const before = yield* column("SHOW search_path")
      // As pg_dump writes it.
      const script =
        "SELECT pg_catalog.set_config('search_path', '', false); SET statement_timeout = 0; CREATE TABLE path.t ()"
      yield* Lakebase.migrate({ schema: "path", scripts: { "1_dump": script } })
      for (let i = 0; i < 3; i++) assert.deepStrictEqual(yield* column("SHOW search_path"), before)
      assert.deepStrictEqual(yield* column("SELECT checksum IS NULL FROM path.effect_sql_migrations"), [false])
    })
  )

  it.effect("takes back all of a script that fails, keeps those before it, and goes on from there", () =>
    Effect.gen(function* () {
      const scripts = {
        "1_a": "CREATE TABLE a ()",
        "2_b": "CREATE TABLE b ();\nCREATE TABLE\n  b ()",
        "3_c": "CREATE TABLE c ()"
      }
      assert.strictEqual(
        yield* refusal(Lakebase.migrate({ schema: "back", scripts })),
        `2_b:2 failed as the role "${yield* role}" (relation "b" already exists) at CREATE TABLE b ()`
      )
      const tables = column("SELECT tablename::text FROM pg_tables WHERE schemaname = 'back' ORDER BY 1")
      assert.deepStrictEqual(yield* tables, ["a", "effect_sql_migrations"])
      const mended = { ...scripts, "2_b": "CREATE TABLE b ()" }
      assert.deepStrictEqual(yield* Lakebase.migrate({ schema: "back", scripts: mended }), [
        [2, "b"],
        [3, "c"]
      ])
    })
  )

  it.effect("names the line that the server points at, also after letters outside of the basic plane", () =>
    Effect.gen(function* () {
      const script = "SELECT 1;\nSELECT '😀😀😀😀',\n\n\n  nothing,\n\n 1"
      assert.include(yield* refusal(Lakebase.migrate({ schema: "line", scripts: { "1_a": script } })), "1_a:5 failed")
    })
  )

  it.effect("says what to do about a statement that cannot run in a transaction", () =>
    Effect.gen(function* () {
      const index = "CREATE TABLE t (a int); CREATE INDEX CONCURRENTLY i ON t (a)"
      assert.match(
        yield* refusal(Lakebase.migrate({ schema: "transaction", scripts: { "1_a": index } })),
        /^1_a:1 failed .*cannot run inside a transaction block.*at CREATE INDEX CONCURRENTLY i ON t \(a\).*Leave CONCURRENTLY out/
      )
      yield* Lakebase.migrate({ schema: "enums", scripts: { "1_a": "CREATE TYPE s AS ENUM ('a')" } })
      assert.match(
        yield* refusal(
          Lakebase.migrate({
            schema: "enums",
            scripts: { "1_a": "CREATE TYPE s AS ENUM ('a')", "2_b": "ALTER TYPE s ADD VALUE 'b'; SELECT 'b'::s" }
          })
        ),
        /^2_b:1 failed .*cannot be used in the same migration: use it in the next one/
      )
    })
  )

  it.effect("refuses scripts that begin or end a transaction before anything runs", () =>
    Effect.gen(function* () {
      for (const ending of ["BEGIN", "start  transaction", "COMMIT AND CHAIN", "END", "ROLLBACK", "ABORT"]) {
        assert.strictEqual(
          yield* refusal(
            Lakebase.migrate({ schema: "ends", scripts: { "1_a": `CREATE TABLE a ();\n-- well\n${ending};` } })
          ),
          `1_a:3 begins or ends a transaction (${ending.replace("  ", " ")}): remove it, because each migration runs in one transaction`
        )
      }
      assert.deepStrictEqual(yield* column("SELECT 1 FROM pg_namespace WHERE nspname = 'ends'"), [])
      const savepoint = "SAVEPOINT s; SELECT 1; ROLLBACK TO s; ROLLBACK WORK TO SAVEPOINT s; CREATE TABLE ending ()"
      yield* Lakebase.migrate({ schema: "ends", scripts: { "1_a": savepoint } })
    })
  )

  it.effect("refuses commands of psql and rows of COPY before anything runs", () =>
    Effect.gen(function* () {
      const refusalOf = (script: string) => refusal(Lakebase.migrate({ schema: "psql", scripts: { "1_a": script } }))
      // As pg_dump writes them.
      assert.strictEqual(
        yield* refusalOf("-- dump\n\\restrict x\n\nSET lock_timeout = 0"),
        "1_a:2 is a command of psql (\\restrict x SET lock_timeout = 0): remove its line, because the server runs SQL only"
      )
      assert.strictEqual(
        yield* refusalOf("CREATE TABLE t (a int);\nCOPY t (a) FROM stdin;\n1\n\\.\n"),
        "1_a:2 reads rows that are not SQL (COPY t (a) FROM stdin): write them as INSERT, as pg_dump --inserts does"
      )
      assert.deepStrictEqual(yield* column("SELECT 1 FROM pg_namespace WHERE nspname = 'psql'"), [])
    })
  )

  it.effect("goes on from the records of Effect's own migrator, which has no checksums", () =>
    Effect.gen(function* () {
      const { client } = yield* Lakebase.Lakebase
      yield* client`CREATE SCHEMA theirs`
      yield* Migrator.make({})({ table: "theirs.effect_sql_migrations", loader: Effect.succeed([]) }).pipe(
        Effect.provideService(SqlClient.SqlClient, client)
      )
      yield* client`INSERT INTO theirs.effect_sql_migrations (migration_id, name) VALUES (1, 'a')`
      const scripts = { "1_a": "SELECT 1", "2_b": "SELECT 2" }
      assert.deepStrictEqual(yield* Lakebase.migrate({ schema: "theirs", scripts }), [[2, "b"]])
    })
  )

  it.effect("refuses names that are not a number and a name, and two of one number", () =>
    Effect.gen(function* () {
      for (const name of ["orders.sql", "0000_orders.sql", "1orders.sql", "1_", "9999999999_orders", "../1_orders"]) {
        assert.strictEqual(
          yield* refusal(Lakebase.migrate({ schema: "names", scripts: { [name]: orders } })),
          `${name} is not named as a migration: use a number from 1 and a name, as 0001_orders.sql`
        )
      }
      assert.strictEqual(
        yield* refusal(Lakebase.migrate({ schema: "names", scripts: { "0002_b": "", "2_a": "" } })),
        "0002_b and 2_a have the same number: give the newer one the next number"
      )
    })
  )

  it.effect("refuses a script that changed, was renamed, or comes before one that ran", () =>
    Effect.gen(function* () {
      const migrate = (scripts: Record<string, string>) => Lakebase.migrate({ schema: "history", scripts })
      yield* migrate({ "2_a": "CREATE TABLE a ();\nCREATE TABLE b ()", "4_c": "SELECT 1" })
      // Comments and ends of lines do not count, and neither does a script that an older version of the app lacks.
      yield* migrate({ "2_a": "-- new\r\nCREATE TABLE a ();\r\n\r\nCREATE TABLE b ();" })
      yield* migrate({ "2_a": "CREATE TABLE a ();\nCREATE TABLE b () -- the last\n-- of them" })
      assert.match(
        yield* refusal(migrate({ "2_a": "CREATE TABLE a (id int)" })),
        /^2_a has changed since it ran in the schema "history": .*above 4.*DROP SCHEMA "history" CASCADE/
      )
      assert.match(
        yield* refusal(migrate({ "2_b": "SELECT 1" })),
        /^2_b has the number of "a", which ran in the schema "history".*above 4/
      )
      assert.strictEqual(
        yield* refusal(migrate({ "3_b": "SELECT 1" })),
        "3_b has not run, but 4_c has: give it a number above 4"
      )
    })
  )

  it.effect("says which GRANT the service principal needs to create the schema", () =>
    Effect.gen(function* () {
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      const name = yield* role
      yield* Effect.acquireRelease(
        administer(`REVOKE CREATE ON DATABASE databricks_postgres FROM "${name}"`),
        () => Effect.orDie(administer(`GRANT CREATE ON DATABASE databricks_postgres TO "${name}"`)) // a finalizer cannot fail
      )
      assert.strictEqual(
        yield* refusal(Lakebase.migrate({ schema: "denied", scripts: { "1_a": "SELECT 1" } })),
        `The role "${name}" may not create the schema "denied": give the app's database resource the permission "Can connect and create", or run GRANT CREATE ON DATABASE "databricks_postgres" TO "${name}"`
      )
      yield* administer(`CREATE SCHEMA AUTHORIZATION "${name}"; ALTER SCHEMA "${name}" RENAME TO given`)
      assert.deepStrictEqual(yield* Lakebase.migrate({ schema: "given", scripts: { "1_a": "SELECT 1" } }), [[1, "a"]])
    })
  )

  it.effect("refuses a schema of another owner", () =>
    Effect.gen(function* () {
      yield* LocalWorkspace.LocalWorkspace.use((_) => _.administer("CREATE SCHEMA foreign_schema"))
      assert.match(
        yield* refusal(Lakebase.migrate({ schema: "foreign_schema", scripts: { "1_a": "SELECT 1" } })),
        /^The schema "foreign_schema" belongs to the role "\w+".*ALTER SCHEMA "foreign_schema" OWNER TO "/
      )
    })
  )

  it.effect("refuses a name of a schema that Postgres would change", () =>
    Effect.gen(function* () {
      for (const schema of ["App", "pg_app", "", "a b", "a".repeat(64)]) {
        const error = yield* Effect.flip(Lakebase.migrate({ schema, scripts: {} }))
        assert.include(String(error), "The option schema of Lakebase.migrate is not a name of lower-case letters")
      }
    })
  )

  it.effect("runs each script once when several processes start at once", () =>
    Effect.gen(function* () {
      const scripts = Object.fromEntries(
        Array.from({ length: 4 }, (_, index) => [
          `${index + 1}_a`,
          `CREATE TABLE t${index} (); SELECT pg_sleep(0.02); CREATE TABLE IF NOT EXISTS u (); `
        ])
      )
      // Each has a pool of its own, as each process has.
      const ran = yield* Effect.forEach(
        Array.from({ length: 4 }),
        () => Effect.provide(Lakebase.migrate({ schema: "crowd", scripts }), Layer.fresh(lakebase())),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        ran.flat().toSorted(([a], [b]) => a - b),
        [1, 2, 3, 4].map((id) => [id, "a"])
      )
    })
  )

  it.effect("runs each script once for three processes that start at once, and all of them start", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const { client } = yield* Lakebase.Lakebase
      const table = "replicas.effect_sql_migrations"
      yield* client.unsafe("CREATE SCHEMA replicas")
      yield* client.unsafe(
        `CREATE TABLE ${table} (migration_id int PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), name text NOT NULL)`
      )
      // Holds them up until all three wait, each for the table or for another.
      const replicas = yield* client.withTransaction(
        Effect.gen(function* () {
          yield* client.unsafe(`LOCK TABLE ${table}`)
          const replicas = yield* Effect.forEach([1, 2, 3], () => run("migrating.ts", [], env))
          yield* eventually(
            column("SELECT count(DISTINCT pid)::int FROM pg_locks WHERE NOT granted"),
            ([count]) => count === 3 || replicas.some((_) => !_.running())
          )
          return replicas
        })
      )
      const ran: Array<string> = []
      for (const { exit, output } of replicas) {
        assert.strictEqual(yield* exit, 0, output.stderr)
        ran.push(...(/^ran (.+)$/m.exec(output.stdout)?.[1]?.split(" ") ?? []))
      }
      assert.deepStrictEqual(ran.toSorted(), ["t0", "t1", "t2", "t3"])
    })
  )

  it.effect("waits for a process that migrates for longer than a statement or a lock may take", () =>
    Effect.gen(function* () {
      const { administer } = yield* LocalWorkspace.LocalWorkspace
      const limits = (statement: string, lock: string) =>
        Effect.flatMap(role, (name) =>
          administer(
            `ALTER ROLE "${name}" SET statement_timeout = '${statement}'; ALTER ROLE "${name}" SET lock_timeout = '${lock}'`
          )
        )
      yield* Effect.acquireRelease(limits("400ms", "200ms"), () => Effect.orDie(limits("0", "0"))) // a finalizer cannot fail
      const scripts = {
        "1_a": "SET LOCAL statement_timeout = 0; SELECT pg_sleep(0.7)",
        "2_b": "CREATE TABLE b AS SELECT current_setting('statement_timeout') AS statement"
      }
      const ran = yield* Effect.forEach(
        [1, 2],
        () => Effect.provide(Lakebase.migrate({ schema: "limits", scripts }), Layer.fresh(lakebase())),
        { concurrency: 2 }
      )
      assert.strictEqual(ran.flat().length, 2)
      assert.deepStrictEqual(yield* column("SELECT statement FROM limits.b"), ["400ms"])
    })
  )

  it.effect("waits for a process that migrates, and for no other schema", () =>
    Effect.gen(function* () {
      const { client } = yield* Lakebase.Lakebase
      const held = "SELECT pg_advisory_xact_lock(hashtextextended('effect-databricks/migrate/held', 0))"
      const migrate = (schema: string) => Lakebase.migrate({ schema, scripts: { "1_a": "SELECT 1" } })
      const waiting = yield* client.withTransaction(
        Effect.gen(function* () {
          yield* client.unsafe(held)
          const context = yield* Layer.build(Layer.fresh(lakebase()))
          const fiber = yield* Effect.forkScoped(Effect.provideContext(migrate("held"), context))
          yield* Effect.repeat(
            column("SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"),
            { until: ([count]) => count === 1, schedule: Schedule.spaced("5 millis") }
          )
          yield* Effect.provideContext(migrate("other"), context)
          assert.isUndefined(fiber.pollUnsafe())
          return fiber
        })
      )
      assert.deepStrictEqual(yield* Fiber.join(waiting), [[1, "a"]])
    })
  )
})
