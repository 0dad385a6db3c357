import { PgClient } from "@effect/sql-pg"
import { WorkspaceClient } from "@databricks/sdk-experimental"
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Schema, Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import * as Local from "../../src/testing/LocalWorkspace.ts"
import { scan } from "../../src/testing/localWorkspace/SqlScanner.ts"

const ALICE = "alice@example.com"
const BOB = "bob@example.com"

const call = Effect.fnUntraced(function* (
  path: string,
  options?: { user?: string; token?: Redacted.Redacted<string>; method?: string; body?: unknown; headers?: HeadersInit }
) {
  const workspace = yield* Local.LocalWorkspace
  const token = options?.token ?? (yield* workspace.token(options?.user ?? ALICE))
  const body = typeof options?.body === "string" ? options.body : JSON.stringify(options?.body)
  return yield* Effect.promise(async () => {
    const response = await fetch(workspace.host + path, {
      method: options?.method ?? (options?.body === undefined ? "GET" : "POST"),
      headers: { authorization: `Bearer ${Redacted.value(token)}`, ...options?.headers },
      ...(body !== undefined && { body })
    })
    const text = await response.text()
    const isJson = text !== "" && response.headers.get("content-type")?.includes("json")
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
  })
})

const execute = Effect.fnUntraced(function* (statement: string, options?: { user?: string } & Record<string, unknown>) {
  const workspace = yield* Local.LocalWorkspace
  const { user = ALICE, ...fields } = options ?? {}
  const body = { statement, warehouse_id: workspace.warehouseId, ...fields }
  return (yield* call("/api/2.0/sql/statements", { user, body })).json
})

const poll = (id: string, user?: string) => call(`/api/2.0/sql/statements/${id}`, { user: user ?? ALICE })

/** Polls until the statement is in a state; every poll is a round trip, so nothing has to sleep. */
const until = (id: string, state: (state: string) => boolean) =>
  poll(id).pipe(
    Effect.repeat({ until: ({ json }) => state(json.status.state) }),
    Effect.map(({ json }) => json)
  )

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

const terminal = (state: string) => state !== "PENDING" && state !== "RUNNING"

const sqlState = (error: unknown) =>
  Schema.is(
    Schema.Struct({ reason: Schema.Struct({ _tag: Schema.String, cause: Schema.Struct({ code: Schema.String }) }) })
  )(error)
    ? { tag: error.reason._tag, code: error.reason.cause.code }
    : undefined

/** Logs in to Postgres as a role with a password and runs one query. */
const login = Effect.fnUntraced(function* (role: string, password: Redacted.Redacted<string>) {
  const workspace = yield* Local.LocalWorkspace
  return yield* PgClient.makeClient({ ...workspace.postgres, username: role, password }).pipe(
    Effect.flatMap((sql) => sql<{ who: string }>`SELECT current_user::text AS who`),
    Effect.map((rows) => rows[0]?.who),
    Effect.scoped,
    Effect.provide(Reactivity.layer)
  )
})

const refusal = (role: string, password: Redacted.Redacted<string>) =>
  Effect.map(Effect.flip(login(role, password)), sqlState)

const patClient = Effect.fnUntraced(function* (user: string) {
  const workspace = yield* Local.LocalWorkspace
  const token = Redacted.value(yield* workspace.token(user))
  return new WorkspaceClient({ host: workspace.host, token, authType: "pat", loaders: [] })
})

const refused = (body: unknown) =>
  Effect.map(call("/api/2.0/sql/statements/", { body }), ({ status, json }) => [status, json.error_code])

const postgresOn = (port: number) =>
  execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes(`port=${port}`)).length

layer(Local.layer({ rowsPerChunk: 100 }))("LocalWorkspace", (it) => {
  describe("the official SDK", () => {
    it.effect("knows the user of a token and the service principal of a secret", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const user = yield* patClient(BOB)
        const service = new WorkspaceClient({
          host: workspace.host,
          clientId: workspace.servicePrincipal.clientId,
          clientSecret: Redacted.value(workspace.servicePrincipal.clientSecret),
          authType: "oauth-m2m",
          loaders: []
        })
        const [bob, app] = yield* Effect.promise(() => Promise.all([user.currentUser.me(), service.currentUser.me()]))
        assert.strictEqual(bob.userName, BOB)
        assert.strictEqual(app.userName, workspace.servicePrincipal.clientId)
        assert.strictEqual(app.id, workspace.servicePrincipal.id)
      })
    )

    it.effect("lists, reads and starts warehouses", () =>
      Effect.gen(function* () {
        const client = yield* patClient(ALICE)
        const stopped = (yield* Local.LocalWorkspace).warehouses[1]?.id ?? ""
        const get = Effect.promise(() => client.warehouses.get({ id: stopped }, undefined))
        assert.strictEqual((yield* get).state, "STOPPED")
        const waiting = yield* execute("SELECT 1", { warehouse_id: stopped, wait_timeout: "0s" })
        assert.strictEqual(waiting.status.state, "PENDING")
        yield* Effect.repeat(get, { until: ({ state }) => state === "STARTING" })
        yield* Effect.promise(() => client.warehouses.start({ id: stopped }, undefined))
        assert.strictEqual((yield* poll(waiting.statement_id)).json.status.state, "PENDING")
        yield* TestClock.adjust("500 millis")
        assert.strictEqual((yield* get).state, "RUNNING")
        assert.strictEqual((yield* until(waiting.statement_id, terminal)).status.state, "SUCCEEDED")
      })
    )

    it.effect("executes a statement with parameters", () =>
      Effect.gen(function* () {
        const client = yield* patClient(ALICE)
        const { warehouseId } = yield* Local.LocalWorkspace
        const answer = yield* Effect.promise(() =>
          client.statementExecution.executeStatement(
            {
              statement: "SELECT :n + 1 AS n, :s AS s, :missing AS missing",
              warehouse_id: warehouseId,
              parameters: [
                { name: "n", type: "BIGINT", value: "41" },
                { name: "s", value: "it's" },
                { name: "missing" }
              ]
            },
            undefined
          )
        )
        assert.strictEqual(answer.status?.state, "SUCCEEDED")
        assert.deepStrictEqual(answer.result?.data_array, [["42", "it's", null] as never])
      })
    )
  })

  describe("identity over HTTP", () => {
    it.effect("answers Me with the workspace id in a header", () =>
      Effect.gen(function* () {
        const me = yield* call("/api/2.0/preview/scim/v2/Me")
        assert.strictEqual(me.json.userName, ALICE)
        assert.match(me.json.id, /^\d+$/)
        assert.strictEqual(me.headers.get("x-databricks-org-id"), (yield* Local.LocalWorkspace).workspaceId)
      })
    )

    it.effect("refuses no credential, a wrong one and an expired one", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const none = yield* Effect.promise(() => fetch(`${workspace.host}/api/2.0/preview/scim/v2/Me`))
        assert.strictEqual(none.status, 401)
        assert.strictEqual(none.headers.get("www-authenticate"), 'Bearer realm="DatabricksRealm"')
        const rejected = { error_code: 403, message: "Invalid access token." }
        const wrong = yield* call("/api/2.0/preview/scim/v2/Me", { token: Redacted.make("nonsense") })
        assert.deepStrictEqual([wrong.status, wrong.json], [403, rejected])
        const token = yield* workspace.token(ALICE, { ttl: "1 minute" })
        assert.strictEqual((yield* call("/api/2.0/preview/scim/v2/Me", { token })).status, 200)
        yield* TestClock.adjust("1 minute")
        const expired = yield* call("/api/2.0/preview/scim/v2/Me", { token })
        assert.deepStrictEqual([expired.status, expired.json], [403, rejected])
      })
    )

    it.effect("refuses a token without the scope, in both forms", () =>
      Effect.gen(function* () {
        const token = yield* (yield* Local.LocalWorkspace).token(ALICE, { scopes: [] })
        const me = yield* call("/api/2.0/preview/scim/v2/Me", { token })
        assert.strictEqual(me.status, 403)
        assert.match(me.json.message, /does not have required scopes: iam.current-user:read/)
        const warehouses = yield* call("/api/2.0/sql/warehouses", { token })
        assert.deepStrictEqual([warehouses.status, warehouses.text], [403, "Invalid scope, required scopes: sql"])
      })
    )

    it.effect("sends the headers of the Apps proxy, and has no unknown user", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const headers = yield* workspace.headers(ALICE)
        assert.match(headers["x-forwarded-user"] ?? "", new RegExp(`^\\d+@${workspace.workspaceId}$`))
        assert.strictEqual(headers["x-forwarded-email"], ALICE)
        const unknown = yield* Effect.flip(workspace.token("nobody@example.com"))
        assert.strictEqual(unknown._tag, "UnknownUserError")
      })
    )

    it.effect("issues OAuth tokens to its own client only", () =>
      Effect.gen(function* () {
        const { host, servicePrincipal } = yield* Local.LocalWorkspace
        const discovered = yield* call("/oidc/.well-known/oauth-authorization-server")
        assert.strictEqual(discovered.json.token_endpoint, `${host}/oidc/v1/token`)
        const ask = (id: string, secret: string, grant = "client_credentials") =>
          call("/oidc/v1/token", {
            body: `grant_type=${grant}&scope=all-apis`,
            headers: {
              authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
              "content-type": "application/x-www-form-urlencoded"
            }
          })
        const secret = Redacted.value(servicePrincipal.clientSecret)
        const issued = yield* ask(servicePrincipal.clientId, secret)
        assert.strictEqual(issued.json.expires_in, 3600)
        const token = Redacted.make(String(issued.json.access_token))
        assert.strictEqual((yield* call("/api/2.0/preview/scim/v2/Me", { token })).json.id, servicePrincipal.id)
        const wrong = yield* ask(servicePrincipal.clientId, "wrong")
        assert.deepStrictEqual([wrong.status, wrong.json.error], [401, "invalid_client"])
        const other = yield* ask(servicePrincipal.clientId, secret, "password")
        assert.deepStrictEqual([other.status, other.json.error], [400, "unsupported_grant_type"])
      })
    )

    it.effect("has no API for an unknown path", () =>
      Effect.gen(function* () {
        const answer = yield* call("/api/2.0/nothing/here")
        assert.deepStrictEqual([answer.status, answer.json.error_code], [404, "ENDPOINT_NOT_FOUND"])
      })
    )
  })

  describe("Postgres", () => {
    it.effect("lets each role in with any live token of its own, and looks at login only", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const [first, second] = yield* Effect.all([workspace.token(ALICE, { ttl: "1 minute" }), workspace.token(ALICE)])
        assert.isAtMost(Redacted.value(first).length, 128)
        assert.strictEqual(yield* login(ALICE, second), ALICE)
        yield* Effect.gen(function* () {
          const sql = yield* PgClient.makeClient({ ...workspace.postgres, username: ALICE, password: first })
          yield* TestClock.adjust("1 minute")
          assert.lengthOf(yield* sql`SELECT 1`, 1)
        }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))
        assert.deepStrictEqual(yield* refusal(ALICE, first), { tag: "AuthenticationError", code: "28000" })
      })
    )

    it.effect("refuses wrong and foreign tokens", () =>
      Effect.gen(function* () {
        const foreign = yield* (yield* Local.LocalWorkspace).token(BOB)
        const refused = { tag: "AuthenticationError", code: "28000" }
        assert.deepStrictEqual(yield* refusal(ALICE, foreign), refused)
        assert.deepStrictEqual(yield* refusal(ALICE, Redacted.make("wrong")), refused)
        assert.deepStrictEqual(yield* refusal("nobody@example.com", foreign), refused)
        assert.deepStrictEqual(yield* refusal("databricks_superuser", foreign), refused)
      })
    )

    it.effect("takes a database credential, which opens nothing else", () =>
      Effect.gen(function* () {
        const { endpoint, servicePrincipal, token } = yield* Local.LocalWorkspace
        const service = yield* token(servicePrincipal.clientId)
        const path = "/api/2.0/postgres/credentials"
        const issued = yield* call(path, { token: service, body: { endpoint, ttl: "300s" } })
        const credential = Redacted.make(String(issued.json.token))
        assert.strictEqual(yield* login(servicePrincipal.clientId, credential), servicePrincipal.clientId)
        assert.strictEqual((yield* call("/api/2.0/sql/warehouses", { token: credential })).status, 403)
        assert.strictEqual((yield* call(path, { body: { endpoint, ttl: "10s" } })).status, 400)
        assert.strictEqual((yield* call(path, { body: { endpoint: "projects/x" } })).status, 404)
      })
    )
  })

  describe("statements", () => {
    it.effect("run as their caller, who cannot become anybody else", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* Local.LocalWorkspace
        for (const user of [ALICE, BOB, servicePrincipal.clientId]) {
          const who = yield* execute("SELECT current_user, session_user", { user })
          assert.deepStrictEqual(who.result.data_array, [[user, user]])
        }
        const smuggled = yield* execute("SELECT current_user", { schema: `x\0user\0${BOB}\0application_name\0x` })
        assert.strictEqual(smuggled.status.sql_state, "42601")
        const setRole = yield* execute(`SET ROLE "${BOB}"`)
        assert.strictEqual(setRole.status.sql_state, "42501")
        yield* execute("CREATE SCHEMA app", { user: servicePrincipal.clientId })
        yield* execute("CREATE TABLE app.t (i int)", { user: servicePrincipal.clientId })
        assert.strictEqual((yield* execute("SELECT * FROM app.t")).status.sql_state, "42501")
        assert.strictEqual((yield* execute("CREATE SCHEMA mine")).status.sql_state, "42501")
      })
    )

    it.effect("belong to whoever started them", () =>
      Effect.gen(function* () {
        const { statement_id: id } = yield* execute("SELECT generate_series(1, 150)")
        const path = `/api/2.0/sql/statements/${id}`
        const others = yield* Effect.all([
          call(path, { user: BOB }),
          call(`${path}/result/chunks/1`, { user: BOB }),
          call(`${path}/cancel`, { user: BOB, method: "POST" }),
          call(path, { user: BOB, method: "DELETE" })
        ])
        for (const { status, json } of others) assert.deepStrictEqual([status, json.error_code], [404, "NOT_FOUND"])
        assert.strictEqual((yield* poll(id)).json.status.state, "SUCCEEDED")
      })
    )

    it.effect("describe their columns and send every value as text", () =>
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

    it.effect("come in chunks, in any order and repeatedly", () =>
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

    it.effect("fail with an HTTP 200, a condition and a SQLSTATE", () =>
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

    it.effect("are refused when the request is wrong", () =>
      Effect.gen(function* () {
        const { warehouseId: warehouse_id } = yield* Local.LocalWorkspace
        assert.deepStrictEqual(yield* refused("{"), [400, "MALFORMED_REQUEST"])
        assert.deepStrictEqual(yield* refused({ statement: 1, warehouse_id }), [400, "MALFORMED_REQUEST"])
        const invalid = [400, "INVALID_PARAMETER_VALUE"]
        assert.deepStrictEqual(yield* refused({ statement: "SELECT 1", warehouse_id: "f00" }), invalid)
        assert.deepStrictEqual(yield* refused({ statement: "SELECT 1", warehouse_id, wait_timeout: "3s" }), invalid)
      })
    )

    it.effect("tell DDL from DML", () =>
      Effect.gen(function* () {
        const ddl = yield* execute("CREATE TEMP TABLE t (i int)")
        assert.deepStrictEqual([ddl.manifest.schema.column_count, ddl.result], [0, {}])
        const { administer } = yield* Local.LocalWorkspace
        yield* administer(`CREATE TABLE counted (i int); GRANT ALL ON counted TO "${ALICE}"`)
        const dml = yield* execute("INSERT INTO counted VALUES (1), (2)")
        assert.strictEqual(dml.manifest.schema.columns[0].name, "num_affected_rows")
        assert.deepStrictEqual(dml.result.data_array, [["2"]])
      })
    )

    it.effect("stop in Postgres when they are canceled", () =>
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

    it.effect("are left running or canceled when the wait is over", () =>
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

  describe("misbehaviour", () => {
    it.effect("answers with what it was told, as often as it was told, until the scope closes", () =>
      Effect.gen(function* () {
        const { misbehave } = yield* Local.LocalWorkspace
        const path = "/api/2.0/sql/warehouses"
        yield* misbehave({ path, times: 1, kind: "answer", status: 429, headers: { "retry-after": "7" }, body: "{}" })
        const limited = yield* call(path)
        assert.deepStrictEqual([limited.status, limited.headers.get("retry-after")], [429, "7"])
        assert.strictEqual((yield* call(path)).status, 200)
        const inside = Effect.andThen(misbehave({ kind: "answer", status: 503 }), call(path))
        assert.strictEqual((yield* Effect.scoped(inside)).status, 503)
        assert.strictEqual((yield* call(path)).status, 200)
      })
    )

    it.effect("truncates, drops and hangs", () =>
      Effect.gen(function* () {
        const { misbehave } = yield* Local.LocalWorkspace
        const path = "/api/2.0/preview/scim/v2/Me"
        const whole = (yield* call(path)).text
        yield* misbehave({ path, times: 1, kind: "truncate" })
        const half = yield* Effect.exit(call(path))
        assert.isTrue(Exit.isFailure(half), "half a JSON text does not parse")
        yield* misbehave({ path, times: 1, kind: "drop" })
        assert.isTrue(Exit.isFailure(yield* Effect.exit(call(path))))
        yield* misbehave({ path, times: 1, kind: "hang" })
        const { host } = yield* Local.LocalWorkspace
        const hung = yield* Effect.promise(() =>
          fetch(host + path, { signal: AbortSignal.timeout(50) }).catch(() => "aborted")
        )
        assert.strictEqual(hung, "aborted")
        assert.strictEqual((yield* call(path)).text, whole)
      })
    )

    it.effect("is slow on the test's clock, and keeps statements pending", () =>
      Effect.gen(function* () {
        const { misbehave, requests } = yield* Local.LocalWorkspace
        const before = (yield* requests).length
        yield* misbehave({ path: "/api/2.0/sql/warehouses", times: 1, kind: "delay", duration: "1 hour" })
        const token = yield* (yield* Local.LocalWorkspace).token(ALICE, { ttl: "2 hours" })
        const slow = yield* Effect.forkChild(call("/api/2.0/sql/warehouses", { token }))
        yield* Effect.repeat(Effect.andThen(call("/api/2.0/preview/scim/v2/Me"), requests), {
          until: (all) => all.slice(before).some(({ path }) => path === "/api/2.0/sql/warehouses")
        })
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* Fiber.join(slow)).status, 200)
        yield* misbehave({ path: "/api/2.0/sql/statements", times: 1, kind: "pending", polls: 2 })
        const { statement_id: id, status } = yield* execute("SELECT 1")
        assert.strictEqual(status.state, "PENDING")
        assert.strictEqual((yield* poll(id)).json.status.state, "PENDING")
        assert.strictEqual((yield* poll(id)).json.status.state, "PENDING")
        assert.strictEqual((yield* until(id, terminal)).status.state, "SUCCEEDED")
      })
    )

    it.effect("remembers who asked for what on which connection", () =>
      Effect.gen(function* () {
        const { connections, requests } = yield* Local.LocalWorkspace
        yield* call("/api/2.0/preview/scim/v2/Me", { user: BOB })
        const last = (yield* requests).at(-1)
        assert.deepInclude(last, { method: "GET", path: "/api/2.0/preview/scim/v2/Me", user: BOB })
        assert.notInclude(JSON.stringify(last), "eyJ")
        assert.isAtMost(last?.connection ?? Infinity, yield* connections)
        assert.isAtLeast(last?.connection ?? 0, 1)
      })
    )
  })
})

describe("the scanner", () => {
  const cases: ReadonlyArray<readonly [sql: string, scanned: string, names: ReadonlyArray<string>]> = [
    ["SELECT :a, :b, :a", "SELECT $1, $2, $1", ["a", "b"]],
    ["SELECT ':a', \":b\", 'it''s :c', :d", "SELECT ':a', \":b\", 'it''s :c', $1", ["d"]],
    ["SELECT :a::int, x::text", "SELECT $1::int, x::text", ["a"]],
    ["SELECT 1 -- :a\n, :b", "SELECT 1 -- :a\n, $1", ["b"]],
    ["/* :a /* :b */ :c */ :d", "/* :a /* :b */ :c */ $1", ["d"]],
    ["SELECT $$ :a $$, $q$ $$ :b $q$, :c", "SELECT $$ :a $$, $q$ $$ :b $q$, $1", ["c"]],
    ["SELECT E'\\':a', :b", "SELECT E'\\':a', $1", ["b"]],
    ['SELECT `a:b"c`, :d', 'SELECT "a:b""c", $1', ["d"]],
    ["SELECT ':unterminated", "SELECT ':unterminated", []]
  ]
  it.each(cases)("%s", (sql, scanned, names) => {
    assert.deepStrictEqual(scan(sql), { sql: scanned, names })
  })
})

describe("the life of a workspace", () => {
  it.live("leaves no process behind, even with a statement running and a request hanging", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const workspace = yield* Scope.provide(Local.make(), scope)
      const here = Effect.provideService(Local.LocalWorkspace, workspace)
      yield* here(execute("SELECT pg_sleep(1000)", { wait_timeout: "0s" }))
      yield* Scope.provide(workspace.misbehave({ kind: "hang" }), scope)
      const hanging = fetch(workspace.host).catch(() => "closed")
      yield* Effect.repeat(Effect.promise(nextTurn), {
        until: () => Effect.runSync(workspace.requests).at(-1)?.path === "/"
      })
      assert.isAtLeast(postgresOn(workspace.postgres.port), 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(postgresOn(workspace.postgres.port), 0)
      assert.strictEqual(yield* Effect.promise(() => hanging), "closed")
      const refused = yield* Effect.promise(() => fetch(workspace.host).catch(() => "refused"))
      assert.strictEqual(refused, "refused")
    })
  )

  it.live("starts several at once", () =>
    Effect.gen(function* () {
      const workspaces = yield* Effect.all([Local.make(), Local.make(), Local.make()], { concurrency: 3 })
      assert.strictEqual(new Set(workspaces.map(({ host }) => host)).size, 3)
      const [first, second] = workspaces
      assert.isDefined(first)
      assert.isDefined(second)
      const foreign = yield* first.token(ALICE)
      const answer = yield* Effect.provideService(
        call("/api/2.0/sql/warehouses", { token: foreign }),
        Local.LocalWorkspace,
        second
      )
      assert.strictEqual(answer.status, 403)
    }).pipe(Effect.scoped)
  )
})
