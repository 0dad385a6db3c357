import { assert, describe, it, layer } from "@effect/vitest"
import { HttpFailure, Lakebase, provideUser, ServiceContext, type WorkspaceClient } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { ConfigProvider, Effect, type Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { writeFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { asked } from "./fixtures/lakebaseFaults.ts"
import { fromEnvironment, who } from "./fixtures/lakebaseClient.ts"
import { alice, requestOf } from "./fixtures/people.ts"
import { Workspace } from "./fixtures/workspace.ts"

const app = { PGHOST: "h.example.com", LAKEBASE_ENDPOINT: "projects/p/branches/b/endpoints/e" }

const read = (env: Record<string, string>) => Lakebase.config.parse(ConfigProvider.fromEnvRecord(env))
const refused = (env: Record<string, string>) => Effect.map(Effect.flip(read(env)), (_) => _.cause.message)

describe("Lakebase.config", () => {
  it.effect("reads the variables that Databricks Apps sets", () =>
    Effect.gen(function* () {
      assert.deepInclude(yield* read(app), {
        host: "h.example.com",
        port: 5432,
        endpoint: app.LAKEBASE_ENDPOINT,
        database: undefined,
        user: undefined,
        password: undefined,
        ssl: true
      })
      const all = { PGPORT: "6432", PGDATABASE: "d", PGUSER: "u", PGAPPNAME: "n", PGSSLMODE: "disable" }
      assert.deepInclude(yield* read({ ...app, ...all }), {
        port: 6432,
        database: "d",
        user: "u",
        applicationName: "n",
        ssl: false
      })
      assert.strictEqual((yield* read({ ...app, DATABRICKS_CLIENT_ID: "c" })).user, "c")
      assert.strictEqual((yield* read({ ...app, DATABRICKS_CLIENT_ID: "c", PGUSER: "u" })).user, "u")
      assert.strictEqual((yield* read({ ...app, DATABRICKS_CLIENT_ID: "c", PGUSER: " " })).user, "c")
    })
  )

  it.effect("reads PGPASSWORD only when LAKEBASE_ENDPOINT is not set", () =>
    Effect.gen(function* () {
      const local = yield* read({ PGHOST: "localhost", PGPASSWORD: " hush " })
      assert.strictEqual(local.password && Redacted.value(local.password), " hush ")
      assert.notInclude(JSON.stringify(local), "hush")
      assert.strictEqual((yield* read({ ...app, PGPASSWORD: "hush" })).password, undefined)
    })
  )

  it.effect("enables TLS for PGSSLMODE require and verify-*, and rejects allow and prefer", () =>
    Effect.gen(function* () {
      for (const mode of ["require", "verify-ca", "verify-full"]) {
        assert.strictEqual((yield* read({ ...app, PGSSLMODE: mode })).ssl, true, mode)
      }
      for (const mode of ["allow", "prefer"]) {
        assert.match(yield* refused({ ...app, PGSSLMODE: mode }), new RegExp(`^PGSSLMODE=${mode} may send tokens`))
      }
      assert.match(yield* refused({ ...app, PGSSLMODE: "Require!" }), /^PGSSLMODE is not one of/)
    })
  )

  it.effect("reads the root certificate that PGSSLROOTCERT names", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "effect-databricks-"))),
        (folder) => Effect.promise(() => rm(folder, { recursive: true }))
      )
      const file = join(folder, "root.crt")
      writeFileSync(file, "certificate")
      assert.deepStrictEqual((yield* read({ ...app, PGSSLROOTCERT: file })).ssl, { ca: "certificate" })
      assert.strictEqual((yield* read({ ...app, PGSSLROOTCERT: "system" })).ssl, true)
      assert.strictEqual((yield* read({ ...app, PGSSLROOTCERT: file, PGSSLMODE: "disable" })).ssl, false)
      assert.match(yield* refused({ ...app, PGSSLROOTCERT: `${file}.no` }), /^PGSSLROOTCERT names a file .*\.no$/)
    }).pipe(Effect.scoped)
  )

  it.effect("names the missing or wrong variable in one sentence", () =>
    Effect.gen(function* () {
      const { LAKEBASE_ENDPOINT, PGHOST } = app
      assert.match(yield* refused({ LAKEBASE_ENDPOINT }), /^PGHOST is not set: [^\n]+$/)
      assert.match(yield* refused({ LAKEBASE_ENDPOINT, PGHOST: "" }), /^PGHOST is not set: [^\n]+$/)
      assert.match(yield* refused({ PGHOST }), /^LAKEBASE_ENDPOINT is not set: [^\n]+PGPASSWORD[^\n]+$/)
      // That of a provisioned instance, which has another way to log in.
      const host = "instance-0a1b2c3d.database.azuredatabricks.net"
      for (const wrong of [{}, { LAKEBASE_ENDPOINT: "my-instance" }]) {
        assert.match(
          yield* refused({ PGHOST: host, ...wrong }),
          /^LAKEBASE_ENDPOINT is not .*instance-0a1b2c3d\S+ is the host of a provisioned database instance.*create a project of Lakebase Autoscaling/
        )
      }
      assert.match(yield* refused({ PGHOST, LAKEBASE_ENDPOINT: "foo" }), /: foo\. .*databricks postgres list-endpoints/)
      for (const port of ["x", "0", "65536", "54.5"]) {
        assert.match(yield* refused({ ...app, PGPORT: port }), new RegExp(`^PGPORT is not a port .*: ${port}$`))
      }
    })
  )
})

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Lakebase.layerConfig", (it) => {
  const runsAs = Effect.flatMap(requestOf(alice), (request) => Effect.all([who, provideUser(who, request)]))

  const runs = <E>(
    live: Layer.Layer<
      Lakebase.Lakebase | SqlClient.SqlClient,
      E,
      ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient | LocalWorkspace.LocalWorkspace
    >
  ) => Effect.provide(runsAs, live)

  it.effect("connects as the service principal and as users", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* runs(fromEnvironment()), ["service", alice])
      // The role comes from DATABRICKS_CLIENT_ID, or else from the workspace.
      assert.deepStrictEqual(yield* runs(fromEnvironment({ PGUSER: undefined })), ["service", alice])
      const nameless = fromEnvironment({ PGUSER: undefined, DATABRICKS_CLIENT_ID: undefined })
      assert.deepStrictEqual(yield* runs(nameless), ["service", alice])
    })
  )

  it.effect("uses the role in PGUSER for the service principal only", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const other = fromEnvironment({ PGUSER: "someone else" })
      const [service, user] = yield* Effect.provide(Effect.all([Effect.flip(who), provideUser(who, request)]), other)
      assert.strictEqual(service.reason.cause instanceof Lakebase.LoginError, true)
      assert.match(String((service.reason.cause as Error).message), /someone else/)
      assert.strictEqual(user, alice)
    })
  )

  it.effect("fails with a ConfigError of one sentence when PGHOST is not set", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.provide(who, fromEnvironment({ PGHOST: undefined })))
      if (error._tag !== "ConfigError") return assert.fail(error._tag)
      assert.match(error.cause.message, /^PGHOST is not set: [^\n]+$/)
    })
  )

  it.effect("names PGDATABASE when its server has no such database", () =>
    Effect.gen(function* () {
      const { postgres } = yield* LocalWorkspace.LocalWorkspace
      const error = yield* Effect.flip(Effect.provide(who, fromEnvironment({ PGDATABASE: "nope" })))
      const { host, port } = postgres
      assert.strictEqual(error.message, `PGDATABASE is not a database of ${host}, port ${port}: nope`)
    })
  )

  it.effect("prefers options to the environment, and ignores options that are undefined", () =>
    Effect.gen(function* () {
      const { postgres } = yield* LocalWorkspace.LocalWorkspace
      const overridden = fromEnvironment(
        { PGHOST: "nowhere.example.com", PGPORT: "1" },
        { ...postgres, applicationName: "on top", user: undefined, endpoint: undefined, maxConnections: undefined }
      )
      const name = Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql<{ name: string }>`SELECT current_setting('application_name') AS name`
      )
      const [seen, names] = yield* Effect.provide(Effect.all([runsAs, name]), overridden)
      assert.deepStrictEqual(seen, ["service", alice])
      assert.deepStrictEqual(names, [{ name: "on top" }])
    })
  )

  it.effect("ignores a missing or wrong variable when an option replaces it", () =>
    Effect.gen(function* () {
      const { endpoint, postgres } = yield* LocalWorkspace.LocalWorkspace
      const wrong = { PGHOST: undefined, PGPORT: "door", PGSSLMODE: "prefer", LAKEBASE_ENDPOINT: undefined }
      const given = fromEnvironment(wrong, { ...postgres, ssl: false, endpoint })
      assert.deepStrictEqual(yield* runs(given), ["service", alice])
      const error = yield* Effect.flip(Effect.provide(who, fromEnvironment(wrong, { ...postgres, ssl: false })))
      if (error._tag !== "ConfigError") return assert.fail(error._tag)
      assert.match(error.cause.message, /^LAKEBASE_ENDPOINT is not set: /)
    })
  )

  it.effect("replaces LAKEBASE_ENDPOINT by the option password, and PGPASSWORD by endpoint", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* LocalWorkspace.LocalWorkspace
      const { principal } = yield* ServiceContext.ServiceContext
      const token = Redacted.value(yield* principal.authorization).replace("Bearer ", "")
      const before = yield* asked
      const withPassword = fromEnvironment({}, { password: Redacted.make(token) })
      assert.strictEqual(yield* Effect.provide(who, withPassword), "service")
      assert.strictEqual(yield* asked, before)
      const withEndpoint = fromEnvironment({ LAKEBASE_ENDPOINT: undefined, PGPASSWORD: "hush" }, { endpoint })
      assert.strictEqual(yield* Effect.provide(who, withEndpoint), "service")
      assert.strictEqual(yield* asked, before + 1)
    })
  )

  it.effect("takes maxConnectionsService and acquireTimeout as options", () =>
    Effect.gen(function* () {
      const both = Effect.gen(function* () {
        const reserve = Effect.flatMap(SqlClient.SqlClient, (sql) => sql.reserve)
        return yield* Effect.flip(Effect.andThen(reserve, reserve))
      })
      const limited = fromEnvironment({}, { maxConnectionsService: 1, acquireTimeout: "100 millis" })
      const { reason } = yield* Effect.scoped(Effect.provide(both, limited))
      assert.instanceOf(reason.cause, Lakebase.PoolExhaustedError)
    })
  )

  it("returns one and the same layer when called without options", () => {
    assert.strictEqual(Lakebase.layerConfig(), Lakebase.layerConfig())
  })

  it.effect("fails as a masked 500 that names LAKEBASE_ENDPOINT when a user logs in and only PGPASSWORD is set", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const local = fromEnvironment({ LAKEBASE_ENDPOINT: undefined, PGPASSWORD: "hush" })
      const error = yield* Effect.flip(Effect.provide(provideUser(who, request), local))
      if (error._tag !== "SqlError") return assert.fail(error._tag)
      const { body, status } = HttpFailure.fromError(error, { development: true })
      assert.strictEqual(status, 500)
      assert.match(body.message, /^A user cannot log in to the database: LAKEBASE_ENDPOINT is not set/)
    })
  )

  it.effect("fails as a masked 500 that names LAKEBASE_ENDPOINT when the workspace has no such endpoint", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const other = fromEnvironment({ LAKEBASE_ENDPOINT: "projects/p/branches/b/endpoints/other" })
      for (const run of [who, provideUser(who, request)]) {
        const { body, status } = HttpFailure.fromError(yield* Effect.flip(Effect.provide(run, other)), {
          development: true
        })
        assert.strictEqual(status, 500)
        assert.match(body.message, /^The workspace has no endpoint \S+\/other .*: check LAKEBASE_ENDPOINT/)
      }
    })
  )

  it.effect("logs in with PGPASSWORD as the service principal without LAKEBASE_ENDPOINT", () =>
    Effect.gen(function* () {
      const { principal } = yield* ServiceContext.ServiceContext
      const token = Redacted.value(yield* principal.authorization).replace("Bearer ", "")
      const local = fromEnvironment({ LAKEBASE_ENDPOINT: undefined, PGPASSWORD: token })
      assert.strictEqual(yield* Effect.provide(who, local), "service")
    })
  )
})
