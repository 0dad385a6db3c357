import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Redacted } from "effect"
import { createServer as createHttpsServer } from "node:https"
import { createServer, type Server } from "node:net"
import { generate } from "selfsigned"
import { freePort, run } from "../fixtures/child.ts"
import { alice } from "../fixtures/people.ts"

type Environment = Readonly<Record<string, string | undefined>>

/** Runs the command in the environment of an application with these changes: its lines by check, and its exit code. */
const doctor = (changes: Environment = {}, args: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const { env, servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
    const environment = Object.fromEntries(
      Object.entries({ ...env, HOME: "/nowhere", ...changes }).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value]]
      )
    )
    const child = yield* run("../../src/cli/main.ts", ["doctor", ...args], environment)
    const exit = yield* child.exit
    const { stderr, stdout } = child.output
    const secrets = [
      Redacted.value(servicePrincipal.clientSecret),
      "Bearer",
      changes["DATABRICKS_USER_TOKEN"] ?? "Bearer"
    ]
    for (const secret of [...secrets, ...(args.at(1) === undefined ? [] : [args[1]!])]) {
      assert.notInclude(stdout + stderr, secret)
    }
    assert.strictEqual(stderr, "")
    return {
      exit,
      stdout,
      /** The lines of a check, without its name. */
      lines: (check: string) =>
        stdout
          .split("\n")
          .filter((line) => line.slice(2).startsWith(`${check} `))
          .map((line) => line.replace(/^(\S) \S+ +/, "$1 "))
    }
  }).pipe(Effect.scoped)

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })(
  "effect-databricks doctor",
  (it) => {
    it.effect("prints one line a check and exits with 0 in a complete environment", () =>
      Effect.gen(function* () {
        const { host, servicePrincipal, warehouseId, workspaceId } = yield* LocalWorkspace.LocalWorkspace
        const { clientId, id } = servicePrincipal
        const { exit, lines, stdout } = yield* doctor()
        assert.strictEqual(exit, 0, stdout)
        assert.match(lines("runtime")[0]!, /^✓ Node \d/)
        assert.include(lines("variables")[0]!, "DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET, DATABRICKS_HOST")
        assert.deepStrictEqual(lines("host"), [`✓ ${host} answers`])
        assert.deepStrictEqual(lines("sign-in"), [
          `✓ as the service principal ${clientId} (id ${id}) in workspace ${workspaceId}`
        ])
        assert.match(lines("warehouse")[0]!, new RegExp(`^✓ ".+" \\(${warehouseId}\\) is RUNNING and answers$`))
        assert.deepStrictEqual(lines("lakebase"), [
          `✓ logged in to the database "databricks_postgres" as "${clientId}"`
        ])
        assert.deepStrictEqual(lines("schemas"), [`✓ "${clientId}" may create schemas`])
        assert.match(lines("token")[0]!, /^– .*DATABRICKS_USER_TOKEN/)
        assert.match(lines("collector")[0]!, /^– OTEL_EXPORTER_OTLP_ENDPOINT is not set/)
        assert.include(stdout, "0 failed, 0 warnings, 2 not checked")
      })
    )

    it.effect("names what is missing in an empty environment, and asks nothing that depends on it", () =>
      Effect.gen(function* () {
        const { env } = yield* LocalWorkspace.LocalWorkspace
        const { exit, lines } = yield* doctor(Object.fromEntries(Object.keys(env).map((name) => [name, undefined])))
        assert.strictEqual(exit, 1)
        assert.match(lines("variables")[0]!, /^✗ No variable of Databricks Apps is set: run the check/)
        assert.deepStrictEqual(lines("host"), [])
        assert.match(lines("sign-in")[0]!, /^✗ DATABRICKS_HOST is not set: /)
        assert.match(lines("lakebase")[0]!, /^– PGHOST and LAKEBASE_ENDPOINT are not set/)
        for (const check of ["warehouse", "token"]) {
          assert.deepStrictEqual(lines(check), ["– not checked, because the sign-in failed"])
        }
      })
    )

    const failing: ReadonlyArray<readonly [title: string, changes: Environment, check: string, line: RegExp]> = [
      [
        "a host that is not known",
        { DATABRICKS_HOST: "https://no-such.invalid" },
        "host",
        /^✗ .*\((ENOTFOUND|EAI_AGAIN)\): check/
      ],
      ["a wrong client secret", { DATABRICKS_CLIENT_SECRET: "wrong" }, "sign-in", /^✗ .*DATABRICKS_CLIENT_SECRET/],
      [
        "two ways to sign in",
        { DATABRICKS_TOKEN: "dapi0123456789" },
        "sign-in",
        /^✗ There is more than one way to sign in/
      ],
      [
        "a client id without its secret",
        { DATABRICKS_CLIENT_SECRET: undefined },
        "sign-in",
        /^✗ DATABRICKS_CLIENT_ID is set and DATABRICKS_CLIENT_SECRET is not/
      ],
      [
        "a warehouse that is not there",
        { DATABRICKS_WAREHOUSE_ID: "none" },
        "warehouse",
        /^✗ There is no SQL warehouse none: check DATABRICKS_WAREHOUSE_ID/
      ],
      [
        "a wrong endpoint name",
        { LAKEBASE_ENDPOINT: "foo" },
        "lakebase",
        /^✗ LAKEBASE_ENDPOINT is not .*: foo\. .*list-endpoints/
      ],
      [
        "an endpoint that is not there",
        { LAKEBASE_ENDPOINT: "projects/a/branches/b/endpoints/c" },
        "lakebase",
        /^✗ The workspace has no endpoint projects\/a\/branches\/b\/endpoints\/c .*check LAKEBASE_ENDPOINT/
      ],
      [
        "a role that is not there",
        { PGUSER: "carol@example.com" },
        "lakebase",
        /^✗ The database .*"carol@example.com"/
      ],
      ["an endpoint without a host", { PGHOST: undefined }, "lakebase", /^✗ PGHOST is not set/],
      ["TLS where the server has none", { PGSSLMODE: "require" }, "lakebase", /^✗ .*PGSSLMODE=disable/],
      ["a wrong port", { DATABRICKS_APP_PORT: "http" }, "variables", /^✗ DATABRICKS_APP_PORT is not a port/],
      [
        "certificates that are not verified",
        { NODE_TLS_REJECT_UNAUTHORIZED: "0" },
        "variables",
        /^✗ NODE_TLS_REJECT_UNAUTHORIZED is 0/
      ],
      [
        "a wrong URL of the collector",
        { OTEL_EXPORTER_OTLP_ENDPOINT: "ftp://x" },
        "collector",
        /^✗ OTEL_EXPORTER_OTLP_ENDPOINT is not/
      ]
    ]
    it.effect.each(failing)("exits with 1 and says what to do about %s", ([, changes, check, line]) =>
      Effect.gen(function* () {
        const { exit, lines, stdout } = yield* doctor(changes)
        assert.strictEqual(exit, 1, stdout)
        assert.match(lines(check).at(-1) ?? stdout, line)
      })
    )

    it.effect("says what to do about a certificate of an authority that Node does not know", () =>
      Effect.gen(function* () {
        const { cert, private: key } = yield* Effect.promise(() =>
          generate([{ name: "commonName", value: "localhost" }])
        )
        const port = yield* freePort
        yield* Effect.acquireRelease(
          Effect.callback<Server>((resume) => {
            const server = createHttpsServer({ cert, key }).listen(port, "127.0.0.1", () =>
              resume(Effect.succeed(server))
            )
          }),
          (server) => Effect.sync(() => server.close())
        )
        const origin = `https://localhost:${port}`
        const workspace = yield* doctor({ DATABRICKS_HOST: origin })
        const collector = yield* doctor({ OTEL_EXPORTER_OTLP_ENDPOINT: origin })
        const database = yield* doctor({ PGHOST: "localhost", PGSSLMODE: "verify-full" }).pipe(
          Effect.provide(Layer.fresh(LocalWorkspace.layer({ ssl: { cert, key } })))
        )
        for (const [{ exit, lines, stdout }, check, where] of [
          [workspace, "host", `${origin} cannot`],
          [collector, "collector", `localhost:${port} cannot`],
          [database, "lakebase", "The database at localhost, port \\d+, cannot"]
        ] as const) {
          assert.strictEqual(exit, 1)
          assert.match(
            lines(check)[0] ?? stdout,
            new RegExp(`^✗ ${where} be reached \\(\\w+\\): .*NODE_EXTRA_CA_CERTS`)
          )
        }
      })
    )

    it.effect("warns of what lets the application start, and exits with 0", () =>
      Effect.gen(function* () {
        const { administer, servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const [database, role] = ["databricks_postgres", `"${servicePrincipal.clientId}"`]
        yield* Effect.acquireRelease(administer(`REVOKE CREATE ON DATABASE ${database} FROM ${role}`), () =>
          Effect.orDie(administer(`GRANT CREATE ON DATABASE ${database} TO ${role}`))
        )
        const { exit, lines, stdout } = yield* doctor({
          NODE_ENV: "development",
          DATABRICKS_APP_NAME: "app",
          PGPASSWORD: "secret"
        })
        assert.strictEqual(exit, 0, stdout)
        assert.match(lines("schemas")[0]!, /^! .*GRANT CREATE ON DATABASE "databricks_postgres" TO "/)
        const warnings = lines("variables").slice(1)
        assert.match(warnings[0]!, /^! NODE_ENV is development/)
        assert.match(warnings[1]!, /^! LAKEBASE_ENDPOINT and PGPASSWORD are set/)
        assert.include(stdout, "0 failed, 3 warnings, 2 not checked")
      })
    )

    it.effect("judges the settings of the database without a sign-in, and counts one warning as one", () =>
      Effect.gen(function* () {
        const noSignIn = { DATABRICKS_CLIENT_SECRET: undefined, PGPASSWORD: "secret" }
        const right = yield* doctor(noSignIn)
        assert.deepStrictEqual(right.lines("lakebase"), ["– not checked, because the sign-in failed"])
        assert.include(right.stdout, "1 failed, 1 warning, 4 not checked")
        const wrong = yield* doctor({ ...noSignIn, LAKEBASE_ENDPOINT: "foo" })
        assert.match(wrong.lines("lakebase")[0]!, /^✗ LAKEBASE_ENDPOINT is not .*: foo\./)
        assert.include(wrong.stdout, "2 failed, 1 warning, 3 not checked")
      })
    )

    it.effect("does not start a stopped warehouse", () =>
      Effect.gen(function* () {
        const { requests, warehouses } = yield* LocalWorkspace.LocalWorkspace
        const before = (yield* requests).length
        const { lines } = yield* doctor({ DATABRICKS_WAREHOUSE_ID: warehouses[1]!.id })
        assert.match(lines("warehouse")[0]!, /^✓ .* is STOPPED: a query starts it$/)
        const asked = (yield* requests).slice(before)
        assert.isFalse(asked.some(({ path }) => path.startsWith("/api/2.0/sql/statements")))
      })
    )

    it.effect("says that a warehouse and a database which are not configured were not checked", () =>
      Effect.gen(function* () {
        const without = { DATABRICKS_WAREHOUSE_ID: undefined, PGHOST: undefined, LAKEBASE_ENDPOINT: undefined }
        const { exit, lines } = yield* doctor(without)
        assert.strictEqual(exit, 0)
        assert.match(lines("warehouse")[0]!, /^– DATABRICKS_WAREHOUSE_ID is not set/)
        assert.match(lines("lakebase")[0]!, /^– PGHOST and LAKEBASE_ENDPOINT are not set/)
      })
    )

    it.effect("says whose a user's token is and which scopes it lacks", () =>
      Effect.gen(function* () {
        const { token } = yield* LocalWorkspace.LocalWorkspace
        const tokenWith = (...scopes: ReadonlyArray<string>) =>
          Effect.map(token(alice, { scopes: ["iam.current-user:read", ...scopes] }), Redacted.value)
        const whole = yield* doctor({ DATABRICKS_USER_TOKEN: yield* tokenWith("sql", "postgres") })
        assert.strictEqual(whole.exit, 0, whole.stdout)
        assert.match(whole.lines("token")[0]!, /^✓ of alice@example\.com/)
        assert.match(whole.lines("scopes")[0]!, /^✓ it has sql, postgres/)
        const lacking = yield* doctor({}, ["--token", yield* tokenWith("postgres")])
        assert.strictEqual(lacking.exit, 1)
        assert.match(lacking.lines("scopes")[0]!, /^✗ .*lacks sql.*needs sql: add it to the app's user_api_scopes/)
        const wrong = yield* doctor({ DATABRICKS_USER_TOKEN: "wrong-token" })
        assert.strictEqual(wrong.exit, 1)
        assert.match(wrong.lines("token")[0]!, /^✗ The workspace does not accept the access token/)
      })
    )

    it.effect("connects to the collector", () =>
      Effect.gen(function* () {
        const port = yield* freePort
        const OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${port}`
        const dead = yield* doctor({ OTEL_EXPORTER_OTLP_ENDPOINT })
        assert.strictEqual(dead.exit, 1)
        assert.match(
          dead.lines("collector")[0]!,
          /^✗ 127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\): start the collector/
        )
        const off = yield* doctor({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: "true" })
        assert.match(off.lines("collector")[0]!, /^– OTEL_SDK_DISABLED is true/)
        yield* Effect.acquireRelease(
          Effect.callback<Server>((resume) => {
            const server = createServer((socket) => socket.on("error", () => {}).end("no TLS")).listen(
              port,
              "127.0.0.1",
              () => resume(Effect.succeed(server))
            )
          }),
          (server) => Effect.sync(() => server.close())
        )
        const alive = yield* doctor({ OTEL_EXPORTER_OTLP_ENDPOINT })
        assert.deepStrictEqual(alive.lines("collector"), [`✓ 127.0.0.1:${port} accepts connections`])
        // One that speaks no TLS.
        const plain = yield* doctor({ OTEL_EXPORTER_OTLP_ENDPOINT: `localhost:${port}` })
        assert.match(plain.lines("collector")[0]!, /^✗ localhost:\d+ cannot be reached \(.*the TLS handshake failed/)
      })
    )
  }
)
