import { assert, layer } from "@effect/vitest"
import { provideUser } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { generate, type SelfsignedOptions } from "selfsigned"
import { eventually } from "./fixtures/eventually.ts"
import { sqlErrorOf } from "./fixtures/lakebaseFaults.ts"
import { fromEnvironment, lakebase, who } from "./fixtures/lakebaseClient.ts"
import { alice, requestOf } from "./fixtures/people.ts"
import { serviceContext } from "./fixtures/workspace.ts"

/** Two authorities, of which the first has signed the server's certificate, for `localhost` alone. */
class Certificates extends Context.Service<
  Certificates,
  { readonly root: string; readonly stranger: string; readonly cert: string; readonly key: string }
>()("test/Certificates") {
  static readonly layer = Layer.effect(
    Certificates,
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "effect-databricks-"))),
        (folder) => Effect.promise(() => rm(folder, { recursive: true }))
      )
      // Node can read certificates, but not make them.
      const make = (name: string, options: Omit<SelfsignedOptions, "keyType" | "algorithm">) =>
        Effect.promise(() =>
          generate([{ name: "commonName", value: name }], { ...options, keyType: "ec", algorithm: "sha256" })
        )
      const authority = (name: string) =>
        make(name, { extensions: [{ name: "basicConstraints", cA: true, critical: true }] })
      const write = Effect.fnUntraced(function* (name: string, cert: string) {
        const path = join(folder, name)
        yield* Effect.promise(() => writeFile(path, cert))
        return path
      })
      const root = yield* authority("root")
      const stranger = yield* authority("stranger")
      const server = yield* make("server", {
        ca: { cert: root.cert, key: root.private },
        extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }] }]
      })
      return {
        root: yield* write("root.crt", root.cert),
        stranger: yield* write("stranger.crt", stranger.cert),
        cert: server.cert,
        key: server.private
      }
    })
  )
}

const App = serviceContext().pipe(
  Layer.provideMerge(
    Layer.unwrap(Certificates.useSync(({ cert, key }) => LocalWorkspace.layer({ ssl: { cert, key } })))
  ),
  Layer.provideMerge(Certificates.layer)
)

/** Whether this statement's connection is encrypted, as the server says. */
const encrypted = SqlClient.SqlClient.use((sql) =>
  Effect.map(
    sql<{ ssl: boolean; pid: number }>`SELECT ssl, pid FROM pg_stat_ssl WHERE pid = pg_backend_pid()`,
    ([row]) => row!
  )
)

const within = <A, E, R>(effect: Effect.Effect<A, E, R>, env: Record<string, string | undefined>) =>
  Effect.provide(effect, Layer.fresh(fromEnvironment(env)))

/** The codes of failed verification are those of Node. */
const codeOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(sqlErrorOf(effect), ({ reason }) => (reason.cause as { readonly code?: unknown }).code)

const refusal = (env: Record<string, string | undefined>) => codeOf(within(who, env))

const modes = ["require", "verify-ca", "verify-full"]

layer(App, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("verifies the server's certificate and name with the root in PGSSLROOTCERT", () =>
    Effect.gen(function* () {
      const { root, stranger } = yield* Certificates
      for (const PGSSLMODE of [...modes, undefined]) {
        const env = { PGSSLMODE, PGHOST: "localhost", PGSSLROOTCERT: root }
        assert.isTrue((yield* within(encrypted, env)).ssl, PGSSLMODE)
        assert.strictEqual(yield* refusal({ ...env, PGHOST: "127.0.0.1" }), "ERR_TLS_CERT_ALTNAME_INVALID", PGSSLMODE)
        assert.strictEqual(
          yield* refusal({ ...env, PGSSLROOTCERT: stranger }),
          "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
          PGSSLMODE
        )
        for (const PGSSLROOTCERT of ["system", undefined]) {
          assert.strictEqual(yield* refusal({ ...env, PGSSLROOTCERT }), "UNABLE_TO_VERIFY_LEAF_SIGNATURE", PGSSLMODE)
        }
      }
    })
  )

  it.effect("connects in plaintext only when PGSSLMODE is disable", () =>
    Effect.gen(function* () {
      assert.isFalse((yield* within(encrypted, { PGSSLMODE: "disable" })).ssl)
    })
  )

  it.effect("verifies the server by the option ssl, and reuses the encrypted connection", () =>
    Effect.gen(function* () {
      const { root } = yield* Certificates
      const ca = yield* Effect.promise(() => readFile(root, "utf8"))
      const request = yield* requestOf(alice)
      yield* Effect.gen(function* () {
        assert.strictEqual(yield* provideUser(who, request), alice)
        const first = yield* provideUser(encrypted, request)
        assert.isTrue(first.ssl)
        assert.deepStrictEqual(yield* provideUser(encrypted, request), first)
      }).pipe(Effect.provide(lakebase({ host: "localhost", ssl: { ca } })))
      assert.isTrue(
        (yield* Effect.provide(
          encrypted,
          lakebase({ host: "127.0.0.1", ssl: { ca, servername: "localhost", checkServerIdentity: () => undefined } })
        )).ssl
      )
      for (const ssl of [true, undefined, {}]) {
        const untold = Effect.provide(who, Layer.fresh(lakebase({ host: "localhost", ssl })))
        assert.strictEqual(yield* codeOf(untold), "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
      }
      yield* eventually(
        Effect.map(
          Effect.provide(
            SqlClient.SqlClient.use(
              (sql) => sql<{ n: number }>`SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = ${alice}`
            ),
            Layer.fresh(fromEnvironment())
          ),
          ([row]) => row?.n === 0
        )
      )
    })
  )
})

const Plain = serviceContext().pipe(Layer.provideMerge(LocalWorkspace.layer()))

layer(Plain, { timeout: "60 seconds", excludeTestServices: true })("Lakebase", (it) => {
  it.effect("never falls back to plaintext when the server refuses TLS", () =>
    Effect.gen(function* () {
      for (const PGSSLMODE of [...modes, undefined]) {
        assert.match((yield* sqlErrorOf(within(who, { PGSSLMODE }))).message, /does not speak TLS/, PGSSLMODE)
      }
      assert.strictEqual(yield* within(who, { PGSSLMODE: "disable" }), "service")
    })
  )
})
