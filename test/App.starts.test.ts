import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { run } from "./fixtures/child.ts"
import * as RawServer from "./fixtures/rawServer.ts"

/** Changes of the environment (`undefined` removes the variable), and the error line that each must produce. */
const starts: ReadonlyArray<readonly [wrong: Readonly<Record<string, string | undefined>>, says: RegExp]> = [
  [{ DATABRICKS_HOST: undefined }, /^DATABRICKS_HOST is not set: /],
  [{ DATABRICKS_HOST: "no host" }, /^DATABRICKS_HOST is neither a URL nor a host name: /],
  [{ DATABRICKS_HOST: "http://example.com" }, /^DATABRICKS_HOST must begin with https:\/\//],
  [{ DATABRICKS_HOST: "http://127.0.0.1:1" }, /cannot be reached \(ECONNREFUSED\): check DATABRICKS_HOST/],
  [{ DATABRICKS_CLIENT_SECRET: undefined }, /^DATABRICKS_CLIENT_ID is set and DATABRICKS_CLIENT_SECRET is not: /],
  [
    { DATABRICKS_CLIENT_SECRET: "dose1" },
    /does not accept the service principal's credentials .*DATABRICKS_CLIENT_SECRET$/
  ],
  [{ DATABRICKS_CLIENT_ID: undefined, DATABRICKS_CLIENT_SECRET: undefined }, /^No credentials are configured: /],
  [{ DATABRICKS_TOKEN: "dapi1" }, /^There is more than one way to sign in /],
  [{ DATABRICKS_WAREHOUSE_ID: undefined }, /DATABRICKS_WAREHOUSE_ID/],
  [{ PGHOST: undefined }, /^PGHOST is not set: /],
  [{ PGPORT: "door" }, /^PGPORT is not a port from 1 to 65535: door$/],
  [
    { PGPORT: "1", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
    /^The database at 127\.0\.0\.1, port 1, cannot be reached \(ECONNREFUSED\): check PGHOST and PGPORT$/
  ],
  [
    { PGHOST: "no-such.invalid" },
    /^The database at no-such\.invalid, port \d+, cannot be reached \((ENOTFOUND|EAI_AGAIN)\): check PGHOST and PGPORT$/
  ],
  [{ PGSSLMODE: "prefer" }, /^PGSSLMODE=prefer may send tokens in plaintext: /],
  [{ PGSSLMODE: "maybe" }, /^PGSSLMODE is not one of disable, require, verify-ca and verify-full: maybe$/],
  [{ PGSSLMODE: undefined, PGSSLROOTCERT: "/nowhere/root.crt" }, /^PGSSLROOTCERT names a file that cannot be read: /],
  [{ PGSSLMODE: "require" }, /^The database does not speak TLS: .*PGSSLMODE=disable/],
  [{ PGUSER: "nobody@example.com" }, /^The database refused the login of "nobody@example.com".*PGUSER/],
  [{ PGDATABASE: "nowhere" }, /^PGDATABASE is not a database of 127\.0\.0\.1, port \d+: nowhere$/],
  [{ LAKEBASE_ENDPOINT: undefined }, /^LAKEBASE_ENDPOINT is not set: /],
  [{ LAKEBASE_ENDPOINT: "foo" }, /^LAKEBASE_ENDPOINT is not of the form .*: foo\. .*list-endpoints/],
  [
    { LAKEBASE_ENDPOINT: undefined, PGHOST: "instance-0a1b2c3d.database.azuredatabricks.net" },
    /^LAKEBASE_ENDPOINT is not set: .*is the host of a provisioned database instance.*create a project of Lakebase Autoscaling/
  ],
  [
    { LAKEBASE_ENDPOINT: "projects/p/branches/b/endpoints/other" },
    /^The workspace has no endpoint projects\/p\/branches\/b\/endpoints\/other .*: check LAKEBASE_ENDPOINT/
  ],
  [{ DATABRICKS_APP_PORT: "door" }, /^DATABRICKS_APP_PORT is not a port from 0 to 65535: door$/],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: "pigeon" }, /^OTEL_EXPORTER_OTLP_PROTOCOL is not one of .*: pigeon$/],
  [{ OTEL_BSP_SCHEDULE_DELAY: "0" }, /OTEL_BSP_SCHEDULE_DELAY/],
  [{ OTEL_SDK_DISABLED: "perhaps" }, /OTEL_SDK_DISABLED/]
]

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("App.runMain", (it) => {
  /** Starts the application of the soak test with these changes, and returns its error line. */
  const lineOf = Effect.fnUntraced(function* (changes: Readonly<Record<string, string | undefined>>) {
    const { env } = yield* LocalWorkspace.LocalWorkspace
    const isTelemetry = Object.keys(changes).some((name) => name.startsWith("OTEL_"))
    // With a collector that is down, a start that fails takes as long as the flush may.
    const whole = { ...env, ...(isTelemetry && { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" }), ...changes }
    const set = Object.entries(whole).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
    const app = yield* run("../soak/app.ts", [], Object.fromEntries(set))
    assert.strictEqual(yield* app.exit, 1)
    assert.strictEqual(app.output.stdout, "")
    assert.match(app.output.stderr, /^[^\n]+\n$/)
    return app.output.stderr.trimEnd()
  })

  for (const [changes, says] of starts) {
    const what = Object.entries(changes).map(([name, value]) =>
      value === undefined ? `no ${name}` : `${name}=${value}`
    )
    it.effect(`exits with 1 and one error line given ${what.join(", ")}`, () =>
      Effect.gen(function* () {
        assert.match(yield* lineOf(changes), says)
      })
    )
  }

  it.effect("exits with 1 and one error line when its port is taken", () =>
    Effect.gen(function* () {
      const { port } = yield* RawServer.tcp(() => {})
      assert.match(yield* lineOf({ DATABRICKS_APP_PORT: String(port) }), /address already in use/)
    })
  )
})
