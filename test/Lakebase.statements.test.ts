import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Logger, References, Stream } from "effect"
import { SqlClient, type SqlError, type Statement } from "effect/sql"
import { asAlice, Database, lakebase } from "./fixtures/lakebaseClient.ts"
import { sqlErrorOf } from "./fixtures/lakebaseFaults.ts"

const administer = (sql: string) => LocalWorkspace.LocalWorkspace.use((_) => _.administer(sql))

const seed = LocalWorkspace.LocalWorkspace.use(({ administer, servicePrincipal }) =>
  administer(`
  CREATE TABLE jobs (id int4 PRIMARY KEY, at date, note text DEFAULT 'none', price numeric);
  CREATE TABLE shapes (a int4);
  CREATE FUNCTION hint(value text) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
      RAISE DEBUG 'whispered'; RAISE NOTICE 'noticed'; RAISE WARNING 'warned of %', value USING DETAIL = value, HINT = value;
      RETURN 1;
    END $$;
  GRANT ALL ON jobs, shapes TO PUBLIC;
  GRANT CREATE ON SCHEMA public TO PUBLIC;
  ALTER TABLE shapes OWNER TO "${servicePrincipal.clientId}";
`)
)

// One connection for each: a statement that repeats meets the one that is prepared.
const one = lakebase({ maxConnections: 2, maxConnectionsService: 1, maxConnectionsPerUser: 1 })

const App = Layer.effectDiscard(seed).pipe(Layer.provideMerge(one), Layer.provideMerge(Database))

const all = <A>(statement: Statement.Statement<A>) =>
  Effect.all([
    statement,
    statement,
    Effect.map(Stream.runCollect(statement.stream), (rows) => Array.from(rows)),
    statement.unprepared
  ])

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("answers a repeated FETCH and EXECUTE with the columns of this run", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (const [query, row] of [
        ["SELECT 7::int8 AS id", { id: "7" }],
        ["SELECT 19.99::float8 AS price", { price: 19.99 }],
        ["SELECT 'a' AS x, true AS y", { x: "a", y: true }]
      ] as const) {
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql.unsafe(`DECLARE c SCROLL CURSOR FOR ${query}`)
            yield* sql.unsafe(`PREPARE p AS ${query}`)
            for (const text of [
              "FETCH 1 FROM c",
              "  /* all */ fetch first from c",
              "-- select\nFETCH FIRST FROM c",
              "/* a /* b */ select */ FETCH FIRST FROM c",
              "EXECUTE p",
              "(((SELECT 1))) LIMIT 0"
            ]) {
              const rows = yield* sql.unsafe<object>(text)
              assert.deepStrictEqual(rows, text.includes("LIMIT") ? [] : [row], `${text} of ${query}`)
            }
            assert.deepStrictEqual(yield* sql.unsafe("EXECUTE p").values, [Object.values(row)])
            yield* sql`DEALLOCATE p`
          })
        )
      }
    })
  )

  it.effect("answers a repeated SELECT with the columns that its table, view or function has now", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const read = sql.unsafe("SELECT * FROM shapes")
      const call = sql.unsafe("SELECT * FROM shape()")
      yield* sql`INSERT INTO shapes VALUES (1094861636)`
      yield* sql`CREATE FUNCTION shape() RETURNS TABLE (id int8) LANGUAGE sql AS 'SELECT 7::int8'`
      for (const rows of yield* all(read)) assert.deepStrictEqual(rows, [{ a: 1094861636 }])
      for (const rows of yield* all(call)) assert.deepStrictEqual(rows, [{ id: "7" }])
      yield* administer(`
        ALTER TABLE shapes ALTER a TYPE text; ALTER TABLE shapes RENAME a TO b;
        DROP FUNCTION shape(); CREATE FUNCTION shape() RETURNS TABLE (x float8) LANGUAGE sql AS 'SELECT 19.99::float8'`)
      for (const rows of yield* all(read)) assert.deepStrictEqual(rows, [{ b: "1094861636" }])
      for (const rows of yield* all(call)) assert.deepStrictEqual(rows, [{ x: 19.99 }])
      // In one transaction, where the server would end it at a statement that has changed.
      const transaction = sql.withTransaction(
        Effect.gen(function* () {
          yield* read
          yield* sql`ALTER TABLE shapes ADD c int4 DEFAULT 3`
          assert.deepStrictEqual(yield* read, [{ b: "1094861636", c: 3 }])
          return yield* Effect.fail("back")
        })
      )
      assert.strictEqual(yield* Effect.flip(transaction), "back")
      yield* sql.withTransaction(Effect.map(read, (rows) => assert.deepStrictEqual(rows, [{ b: "1094861636" }])))
    }).pipe(Effect.ensuring(Effect.ignore(administer("DROP TABLE shapes; DROP FUNCTION shape()"))))
  )

  it.effect("runs a repeated statement after the application has discarded the prepared ones", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const read = sql.unsafe<{ one: number }>("SELECT 1 AS one")
      for (const statement of ["DEALLOCATE ALL", "DISCARD ALL", "DISCARD PLANS"]) {
        yield* read
        yield* sql.unsafe(statement)
        assert.deepStrictEqual(yield* read, [{ one: 1 }])
      }
      yield* sql.withTransaction(Effect.all([read, sql.unsafe("DEALLOCATE ALL"), read]))
    })
  )

  it.effect("runs a statement again at the call after its parameter's type has changed", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const find = (at: string) => sql<{ id: number }>`SELECT id FROM jobs WHERE at = ${at}`
      const insert = (id: number, at: string) => sql`INSERT INTO jobs (id, at) VALUES (${id}, ${at})`
      yield* insert(1, "2026-01-31")
      assert.deepStrictEqual(yield* find("2026-01-31"), [{ id: 1 }])
      for (const [type, at] of [
        ["text", "one"],
        ["text[]", "{one}"],
        ["int8", "9007199254740993"],
        ["date", "2026-02-01"]
      ] as const) {
        yield* administer(`ALTER TABLE jobs DROP at; ALTER TABLE jobs ADD at ${type}`)
        yield* Effect.ignore(insert(2, at))
        yield* Effect.ignore(find(at))
        yield* sql`DELETE FROM jobs`
        yield* insert(3, at)
        assert.deepStrictEqual(yield* find(at), [{ id: 3 }], type)
      }
    }).pipe(Effect.ensuring(Effect.ignore(administer("DELETE FROM jobs"))))
  )

  it.effect("binds to the new type of a column once the application has altered it, on every connection", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE visits (at date, size real)`
      yield* sql`GRANT ALL ON visits TO PUBLIC`
      const insert = sql`INSERT INTO visits VALUES (${"2026-01-31 23:30:00.5"}, ${"0.1234567890123"})`
      yield* asAlice(insert)
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* insert
          yield* sql`ALTER TABLE visits ALTER at TYPE timestamp, ALTER size TYPE numeric`
          yield* insert
          // Before the end of the transaction that is still the old one elsewhere.
          yield* sql`TRUNCATE visits`
        })
      )
      yield* asAlice(insert)
      yield* insert
      assert.deepStrictEqual(
        yield* sql`SELECT at::text AS at, size FROM visits`,
        Array.from({ length: 2 }, () => ({ at: "2026-01-31 23:30:00.5", size: "0.1234567890123" }))
      )
    }).pipe(Effect.ensuring(Effect.ignore(administer("DROP TABLE visits"))))
  )

  it.effect("binds and reads a repeated statement by the search_path of its transaction", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const at = "2026-01-31 23:30:00.5"
      yield* administer(`
        CREATE SCHEMA tenant_a; CREATE TABLE tenant_a.visits (at date);
        CREATE SCHEMA tenant_b; CREATE TABLE tenant_b.visits (at timestamp, size int8 DEFAULT 7);
        GRANT USAGE ON SCHEMA tenant_a, tenant_b TO PUBLIC;
        GRANT ALL ON tenant_a.visits, tenant_b.visits TO PUBLIC`)
      const visits = Effect.andThen(sql`INSERT INTO visits (at) VALUES (${at})`, all(sql`SELECT * FROM visits`))
      for (const choose of [
        (tenant: string) => sql.unsafe(`SET LOCAL search_path = ${tenant}`),
        (tenant: string) => sql`SELECT set_config('search_path', ${tenant}, true)`,
        (tenant: string) => sql.unsafe(`set local schema '${tenant}'`).unprepared
      ]) {
        for (const [tenant, row] of [
          ["tenant_a", { at: "2026-01-31" }],
          ["tenant_b", { at: new Date(`${at}Z`), size: "7" }]
        ] as const) {
          yield* sql.withTransaction(
            Effect.gen(function* () {
              yield* choose(tenant)
              for (const rows of yield* visits) assert.deepStrictEqual(rows, [row])
              yield* sql`DELETE FROM visits`
            })
          )
        }
      }
    }).pipe(Effect.ensuring(Effect.ignore(administer("DROP SCHEMA tenant_a, tenant_b CASCADE"))))
  )

  it.effect("keeps few and small statements prepared on a connection, however many it runs", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const rows = (n: number) => Array.from({ length: n }, (_, i) => ({ id: i, note: i % 2 ? "x" : null }))
      for (let n = 1; n <= 300; n += 3) {
        yield* sql`INSERT INTO jobs ${sql.insert(rows(n) as never)}`
        yield* sql`DELETE FROM jobs`
        yield* sql.unsafe(`SELECT '${"x".repeat(n * 100)}'`)
        yield* sql.unsafe(`SELECT ${n} AS n`)
      }
      const [held] = yield* sql<{ n: number; parameters: number; text: number }>`
        SELECT count(*)::int AS n, max(cardinality(parameter_types)) AS parameters, max(length(statement)) AS text
        FROM pg_prepared_statements`
      assert.isAtMost(held!.n, 101)
      assert.isAtMost(held!.parameters, 100)
      assert.isAtMost(held!.text, 8192)
      // What is small stays prepared.
      const [mine] = yield* sql<{ n: number }>`
        SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement = ${"SELECT 298 AS n"}`
      assert.strictEqual(mine!.n, 1)
    })
  )

  it.effect("fails with the key if rows have different keys, and fails without rows", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const rows = (...rows: ReadonlyArray<Record<string, unknown>>) => rows as never
      const wrong: ReadonlyArray<readonly [Effect.Effect<unknown, SqlError.SqlError>, RegExp]> = [
        [sql`INSERT INTO jobs ${sql.insert(rows({ id: 1 }, { id: 2, note: "dropped" }))}`, /1 and 2 .* "note"/],
        [sql`INSERT INTO jobs ${sql.insert(rows({ id: 1, note: "a" }, { id: 2 }))}`, /1 and 2 .* "note"/],
        [sql`INSERT INTO jobs ${sql.insert(rows({ id: 1 }, { id: 2 }, { note: "a" }))}`, /1 and 3 .* "id"/],
        [sql`INSERT INTO jobs ${sql.insert(rows())}`, /sql\.insert got no rows/],
        [sql`INSERT INTO jobs ${sql.insert(rows()).returning("*")}`.values, /no rows/],
        [Stream.runDrain(sql`INSERT INTO jobs ${sql.insert(rows()).returning("id")}`.stream), /no rows/],
        [sql`INSERT INTO jobs ${sql.insert({ id: 1, at: sql`now()` })}`, /"at" is a fragment/],
        [sql`INSERT INTO jobs ${sql.insert({ id: 1, price: sql`${1} + 1` })}`, /"price" is a fragment/],
        [sql`UPDATE jobs SET ${sql.update({ at: sql`now()` })}`, /"at" is a fragment/],
        [sql`UPDATE jobs SET note = v.note FROM ${sql.updateValues(rows(), "v")}`, /sql\.updateValues got no rows/],
        [
          sql`UPDATE jobs SET note = v.note FROM ${sql.updateValues(rows({ id: 1 }, { id: 1, note: "a" }), "v")}`,
          /sql\.updateValues: .* "note"/
        ],
        [sql`SELECT 1 ${sql.and([sql`2 IN ${sql.insert(rows())}`])}`, /no rows/]
      ]
      for (const [statement, message] of wrong) assert.match((yield* sqlErrorOf(statement)).message, message)
      assert.deepStrictEqual(yield* sql`SELECT * FROM jobs`, [])
      // In any order of keys, with what `undefined` stands for, and with JSON.
      yield* sql`INSERT INTO jobs ${sql.insert(rows({ id: 1, note: undefined, price: 1.5 }, { price: 2, note: "b", id: 2 }))}`
      yield* sql`
        UPDATE jobs SET price = v.price FROM ${sql.updateValues(rows({ id: 1, price: 0.1 }, { id: 2, price: 3 }), "v")}
        WHERE jobs.id = v.id`
      assert.deepStrictEqual(yield* sql`SELECT id, note, price FROM jobs ORDER BY id`, [
        { id: 1, note: null, price: "0.1" },
        { id: 2, note: "b", price: "3" }
      ])
    }).pipe(Effect.ensuring(Effect.ignore(administer("DELETE FROM jobs"))))
  )

  it.effect("logs notices and warnings of a statement with the caller's annotations, without its values", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const seen: Array<string> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        const { request } = fiber.getRef(References.CurrentLogAnnotations)
        seen.push(`${logLevel} ${String(request)} ${JSON.stringify(message)}`)
      })
      const run = <A, E, R>(request: string, effect: Effect.Effect<A, E, R>) =>
        Effect.annotateLogs(Effect.exit(effect), { request }).pipe(Effect.provide(Logger.layer([logger])))
      yield* run("a", sql`SELECT hint(${"secret"})`)
      yield* run("b", asAlice(Stream.runDrain(sql`SELECT hint(${"secret"})`.stream)))
      yield* run("c", sql`SELECT hint(${"secret"}) / ${0}`)
      yield* run("d", sql`CREATE TABLE IF NOT EXISTS jobs (id int)`)
      yield* run("e", sql`DO $$ BEGIN FOR i IN 1..150 LOOP RAISE NOTICE '%', repeat('x', 5000); END LOOP; END $$`)
      assert.deepStrictEqual(
        seen.slice(0, 7),
        ["a", "b", "c"]
          .flatMap((request) => [`Info ${request} ["noticed"]`, `Warn ${request} ["warned of …"]`])
          .concat(`Info d ["relation \\"jobs\\" already exists, skipping"]`)
      )
      assert.strictEqual(seen.length, 7 + 101)
      assert.isBelow(seen[8]!.length, 1_100)
      assert.match(seen.at(-1)!, /50 more notices/)
      assert.notMatch(seen.join(), /secret/)
    })
  )
})
