import { assert, layer } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Local from "../../src/testing/LocalWorkspace.ts"
import { call, execute, poll, terminal, until } from "../fixtures/localWorkspace.ts"
import { alice, bob } from "../fixtures/people.ts"

const refused = (body: unknown) =>
  Effect.map(call("/api/2.0/sql/statements/", { body }), ({ status, json }) => [status, json.error_code])

layer(Local.layer({ rowsPerChunk: 100 }))("LocalWorkspace", (it) => {
  it.effect("runs a statement as its caller, and refuses a switch to another role", () =>
    Effect.gen(function* () {
      const { servicePrincipal } = yield* Local.LocalWorkspace
      for (const user of [alice, bob, servicePrincipal.clientId]) {
        const who = yield* execute("SELECT current_user, session_user", { user })
        assert.deepStrictEqual(who.result.data_array, [[user, user]])
      }
      const smuggled = yield* execute("SELECT current_user", { schema: `x\0user\0${bob}\0application_name\0x` })
      assert.strictEqual(smuggled.status.sql_state, "42601")
      const setRole = yield* execute(`SET ROLE "${bob}"`)
      assert.strictEqual(setRole.status.sql_state, "42501")
      yield* execute("CREATE SCHEMA app", { user: servicePrincipal.clientId })
      yield* execute("CREATE TABLE app.t (i int)", { user: servicePrincipal.clientId })
      assert.strictEqual((yield* execute("SELECT * FROM app.t")).status.sql_state, "42501")
      assert.strictEqual((yield* execute("CREATE SCHEMA mine")).status.sql_state, "42501")
    })
  )

  it.effect("answers 404 to a request for another user's statement", () =>
    Effect.gen(function* () {
      const { statement_id: id } = yield* execute("SELECT generate_series(1, 150)")
      const path = `/api/2.0/sql/statements/${id}`
      const others = yield* Effect.all([
        call(path, { user: bob }),
        call(`${path}/result/chunks/1`, { user: bob }),
        call(`${path}/cancel`, { user: bob, method: "POST" }),
        call(path, { user: bob, method: "DELETE" })
      ])
      for (const { status, json } of others) assert.deepStrictEqual([status, json.error_code], [404, "NOT_FOUND"])
      assert.strictEqual((yield* poll(id)).json.status.state, "SUCCEEDED")
    })
  )

  it.effect("describes the columns of a statement and sends every value as text", () =>
    Effect.gen(function* () {
      const answer = yield* execute(
        `SELECT 1::int8 a, 2::int4 b, 3::int2 c, 1.5::numeric(10,2) d, 4::float8 e, true f, 'x'::text g,
           date '2026-01-31' h, timestamptz '2026-01-31 10:00:00.5Z' i, timestamp '2026-01-31 10:00:00' j,
           '\\x6869'::bytea k, array[1,null] l, '{"a":1}'::json m, null n`
      )
      const types = answer.manifest.schema.columns.map((column: { type_name: string }) => column.type_name)
      assert.deepStrictEqual(
        types.join(),
        "LONG,INT,SHORT,DECIMAL,DOUBLE,BOOLEAN,STRING,DATE,TIMESTAMP,TIMESTAMP_NTZ,BINARY,ARRAY,STRING,STRING"
      )
      assert.deepInclude(answer.manifest.schema.columns[3], { type_precision: 10, type_scale: 2 })
      assert.deepStrictEqual(answer.result.data_array, [
        ["1", "2", "3", "1.50", "4.0", "true", "x", "2026-01-31", "2026-01-31T10:00:00.500Z"].concat([
          "2026-01-31T10:00:00.000",
          "aGk=",
          "[1,null]",
          '{"a":1}',
          null as never
        ])
      ])
    })
  )

  it.effect("sends the chunks of a statement in any order and repeatedly", () =>
    Effect.gen(function* () {
      const answer = yield* execute("SELECT i FROM generate_series(1, 250) i")
      assert.strictEqual(answer.manifest.total_chunk_count, 3)
      assert.strictEqual(answer.result.next_chunk_index, 1)
      const chunk = (index: number) => call(`/api/2.0/sql/statements/${answer.statement_id}/result/chunks/${index}`)
      const [last, next, again] = yield* Effect.all([chunk(2), chunk(1), chunk(2)], { concurrency: 3 })
      assert.deepInclude(last.json, { chunk_index: 2, row_offset: 200, row_count: 50 })
      assert.notProperty(last.json, "next_chunk_index")
      assert.deepStrictEqual(next.json.data_array[0], ["101"])
      assert.strictEqual(again.text, last.text)
      assert.strictEqual((yield* chunk(3)).status, 400)
      const limited = yield* execute("SELECT i FROM generate_series(1, 250) i", { row_limit: 10 })
      assert.deepInclude(limited.manifest, { truncated: true, total_row_count: 10 })
    })
  )

  it.effect("answers 200 to a failed statement, with its condition and SQLSTATE", () =>
    Effect.gen(function* () {
      const cases = [
        ["SELEC 1", "PARSE_SYNTAX_ERROR", "42601"],
        ["SELECT * FROM nowhere", "TABLE_OR_VIEW_NOT_FOUND", "42P01"],
        ["SELECT 1 / 0", "DIVIDE_BY_ZERO", "22012"],
        ["SELECT :unbound", "UNBOUND_SQL_PARAMETER", "42P02"],
        ["SELECT :typed", "CAST_INVALID_INPUT", "22018"]
      ] as const
      for (const [statement, condition, state] of cases) {
        const answer = yield* execute(statement, { parameters: [{ name: "typed", type: "INT", value: "x" }] })
        assert.strictEqual(answer.status.state, "FAILED")
        assert.strictEqual(answer.status.sql_state, state)
        assert.match(answer.status.error.message, new RegExp(`^\\[${condition}\\] .* SQLSTATE: ${state}$`))
      }
    })
  )

  it.effect("answers 400 to a malformed or invalid statement request", () =>
    Effect.gen(function* () {
      const { warehouseId: warehouse_id } = yield* Local.LocalWorkspace
      assert.deepStrictEqual(yield* refused("{"), [400, "MALFORMED_REQUEST"])
      assert.deepStrictEqual(yield* refused({ statement: 1, warehouse_id }), [400, "MALFORMED_REQUEST"])
      const invalid = [400, "INVALID_PARAMETER_VALUE"]
      assert.deepStrictEqual(yield* refused({ statement: "SELECT 1", warehouse_id: "f00" }), invalid)
      assert.deepStrictEqual(yield* refused({ statement: "SELECT 1", warehouse_id, wait_timeout: "3s" }), invalid)
    })
  )

  it.effect("sends no columns for DDL, and the number of affected rows for DML", () =>
    Effect.gen(function* () {
      const ddl = yield* execute("CREATE TEMP TABLE t (i int)")
      assert.deepStrictEqual([ddl.manifest.schema.column_count, ddl.result], [0, {}])
      const { administer } = yield* Local.LocalWorkspace
      yield* administer(`CREATE TABLE counted (i int); GRANT ALL ON counted TO "${alice}"`)
      const dml = yield* execute("INSERT INTO counted VALUES (1), (2)")
      assert.strictEqual(dml.manifest.schema.columns[0].name, "num_affected_rows")
      assert.deepStrictEqual(dml.result.data_array, [["2"]])
    })
  )

  it.effect("stops a canceled statement in Postgres", () =>
    Effect.gen(function* () {
      const { statement_id: id } = yield* execute("SELECT pg_sleep(1000) /* canceled */", { wait_timeout: "0s" })
      yield* until(id, (state) => state === "RUNNING")
      yield* call(`/api/2.0/sql/statements/${id}/cancel`, { method: "POST" })
      assert.strictEqual((yield* until(id, terminal)).status.state, "CANCELED")
      const left = yield* execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE :q", {
        parameters: [{ name: "q", value: "%/* canceled */%" }]
      })
      assert.deepStrictEqual(left.result.data_array, [["0"]])
      assert.strictEqual((yield* call(`/api/2.0/sql/statements/${id}`, { method: "DELETE" })).status, 200)
      assert.strictEqual((yield* poll(id)).json.status.state, "CLOSED")
    })
  )

  it.effect("forgets a statement one hour after its end", () =>
    Effect.gen(function* () {
      const ended = yield* execute("SELECT 1")
      const running = yield* execute("SELECT pg_sleep(1000)", { wait_timeout: "0s" })
      yield* until(running.statement_id, (state) => state === "RUNNING")
      yield* TestClock.adjust("59 minutes")
      assert.deepStrictEqual((yield* poll(ended.statement_id)).json.result, ended.result)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* poll(ended.statement_id)).status, 404)
      assert.strictEqual((yield* poll(running.statement_id)).json.status.state, "RUNNING")
      yield* call(`/api/2.0/sql/statements/${running.statement_id}/cancel`, { method: "POST" })
      // The next test looks for a statement of its own with the same text.
      yield* until(running.statement_id, terminal)
    })
  )

  it.effect("continues or cancels a statement after its wait, as on_wait_timeout says", () =>
    Effect.gen(function* () {
      for (const [on_wait_timeout, states] of [
        ["CONTINUE", ["RUNNING"]],
        ["CANCEL", ["RUNNING", "CANCELED"]]
      ] as const) {
        const waiting = yield* Effect.forkChild(
          execute("SELECT pg_sleep(1000)", { wait_timeout: "5s", on_wait_timeout })
        )
        const { administer } = yield* Local.LocalWorkspace
        // Fails until the statement sleeps in Postgres, and then the wait is known to have begun.
        yield* Effect.eventually(
          administer(
            "SELECT 1 / count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1000)' AND state = 'active'"
          )
        )
        yield* TestClock.adjust("5 seconds")
        const answer = yield* Fiber.join(waiting)
        assert.include(states, answer.status.state)
        const path = `/api/2.0/sql/statements/${answer.statement_id}`
        if (on_wait_timeout === "CONTINUE") yield* call(`${path}/cancel`, { method: "POST" })
        assert.strictEqual((yield* until(answer.statement_id, terminal)).status.state, "CANCELED")
      }
    })
  )
})
