import { PgClient } from "@effect/sql-pg"
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Redacted, Schema } from "effect"
import { Reactivity } from "effect/reactivity"
import { TestClock } from "effect/testing"
import * as Local from "../../src/testing/LocalWorkspace.ts"
import { call } from "../fixtures/localWorkspace.ts"
import { alice, bob } from "../fixtures/people.ts"

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

const carol = "carol@example.com"

const Workspace = Local.layer({
  users: [{ userName: alice }, { userName: bob }, { userName: carol, id: "1081964970114387" }]
})

layer(Workspace)("LocalWorkspace", (it) => {
  describe("over HTTP", () => {
    it.effect("answers Me with the user, and with the workspace id in a header", () =>
      Effect.gen(function* () {
        const me = yield* call("/api/2.0/preview/scim/v2/Me")
        assert.strictEqual(me.json.userName, alice)
        assert.match(me.json.id, /^\d+$/)
        assert.strictEqual(me.headers.get("x-databricks-org-id"), (yield* Local.LocalWorkspace).workspaceId)
      })
    )

    it.effect("answers 401 without a credential, and 403 to a wrong or expired token", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const none = yield* Effect.promise(() => fetch(`${workspace.host}/api/2.0/preview/scim/v2/Me`))
        assert.strictEqual(none.status, 401)
        assert.strictEqual(none.headers.get("www-authenticate"), 'Bearer realm="DatabricksRealm"')
        const rejected = { error_code: 403, message: "Invalid access token." }
        const wrong = yield* call("/api/2.0/preview/scim/v2/Me", { token: Redacted.make("nonsense") })
        assert.deepStrictEqual([wrong.status, wrong.json], [403, rejected])
        const token = yield* workspace.token(alice, { ttl: "1 minute" })
        assert.strictEqual((yield* call("/api/2.0/preview/scim/v2/Me", { token })).status, 200)
        yield* TestClock.adjust("1 minute")
        const expired = yield* call("/api/2.0/preview/scim/v2/Me", { token })
        assert.deepStrictEqual([expired.status, expired.json], [403, rejected])
      })
    )

    it.effect("answers 403 to a token without a scope, in the words of SCIM and of SQL", () =>
      Effect.gen(function* () {
        const token = yield* (yield* Local.LocalWorkspace).token(alice, { scopes: [] })
        const me = yield* call("/api/2.0/preview/scim/v2/Me", { token })
        assert.strictEqual(me.status, 403)
        assert.match(me.json.message, /does not have required scopes: iam.current-user:read/)
        const warehouses = yield* call("/api/2.0/sql/warehouses", { token })
        assert.deepStrictEqual([warehouses.status, warehouses.text], [403, "Invalid scope, required scopes: sql"])
      })
    )

    it.effect(
      "renames and deactivates a user, whose id stays, and whose tokens are refused outside of SCIM while inactive",
      () =>
        Effect.gen(function* () {
          const { headers, token, updateUser, warehouseId } = yield* Local.LocalWorkspace
          const old = yield* token(carol)
          const select = { warehouse_id: warehouseId, statement: "SELECT 1" }
          const id = { id: "1081964970114387", active: true }
          const me = Effect.map(call("/api/2.0/preview/scim/v2/Me", { token: old }), ({ json }) => json)
          assert.deepInclude(yield* me, { ...id, userName: carol })
          const renamed = "caroline@example.com"
          yield* updateUser(carol, { userName: renamed })
          assert.deepInclude(yield* me, { ...id, userName: renamed })
          assert.strictEqual((yield* Effect.flip(headers(carol)))._tag, "UnknownUserError")
          assert.match((yield* headers(renamed))["x-forwarded-user"]!, /^1081964970114387@/)
          assert.strictEqual(yield* login(renamed, old), renamed)
          assert.deepStrictEqual(yield* refusal(carol, old), { tag: "AuthenticationError", code: "28000" })
          yield* updateUser(renamed, { active: false })
          assert.deepInclude(yield* me, { ...id, active: false })
          const warehouses = Effect.map(call("/api/2.0/sql/warehouses", { token: old }), ({ status }) => status)
          const started = yield* call("/api/2.0/sql/statements", { token: old, method: "POST", body: select })
          const rejected = { error_code: 403, message: "Invalid access token." }
          assert.deepStrictEqual([started.status, started.json, yield* warehouses], [403, rejected, 403])
          yield* updateUser(renamed, { active: true })
          assert.strictEqual(yield* warehouses, 200)
          assert.strictEqual((yield* Effect.flip(updateUser(alice, { userName: bob })))._tag, "LocalWorkspaceError")
          assert.deepInclude((yield* call("/api/2.0/preview/scim/v2/Me")).json, { userName: alice })
          assert.strictEqual((yield* Effect.flip(updateUser(carol, {})))._tag, "UnknownUserError")
        })
    )

    it.effect("makes the Apps proxy's headers of a user, and fails for an unknown one", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const headers = yield* workspace.headers(alice)
        assert.match(headers["x-forwarded-user"] ?? "", new RegExp(`^\\d+@${workspace.workspaceId}$`))
        assert.strictEqual(headers["x-forwarded-email"], alice)
        const unknown = yield* Effect.flip(workspace.token("nobody@example.com"))
        assert.strictEqual(unknown._tag, "UnknownUserError")
      })
    )

    it.effect("issues OAuth tokens to its own service principal only", () =>
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

    it.effect("answers 404 to an unknown path", () =>
      Effect.gen(function* () {
        const answer = yield* call("/api/2.0/nothing/here")
        assert.deepStrictEqual([answer.status, answer.json.error_code], [404, "ENDPOINT_NOT_FOUND"])
      })
    )
  })

  describe("in Postgres", () => {
    it.effect("accepts every live token of a role, and checks expiry at login only", () =>
      Effect.gen(function* () {
        const workspace = yield* Local.LocalWorkspace
        const [first, second] = yield* Effect.all([workspace.token(alice, { ttl: "1 minute" }), workspace.token(alice)])
        assert.isAtMost(Redacted.value(first).length, 128)
        assert.strictEqual(yield* login(alice, second), alice)
        yield* Effect.gen(function* () {
          const sql = yield* PgClient.makeClient({ ...workspace.postgres, username: alice, password: first })
          yield* TestClock.adjust("1 minute")
          assert.lengthOf(yield* sql`SELECT 1`, 1)
        }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))
        assert.deepStrictEqual(yield* refusal(alice, first), { tag: "AuthenticationError", code: "28000" })
      })
    )

    it.effect("refuses a wrong token, another user's token and an unknown role", () =>
      Effect.gen(function* () {
        const foreign = yield* (yield* Local.LocalWorkspace).token(bob)
        const refused = { tag: "AuthenticationError", code: "28000" }
        assert.deepStrictEqual(yield* refusal(alice, foreign), refused)
        assert.deepStrictEqual(yield* refusal(alice, Redacted.make("wrong")), refused)
        assert.deepStrictEqual(yield* refusal("nobody@example.com", foreign), refused)
        assert.deepStrictEqual(yield* refusal("databricks_superuser", foreign), refused)
      })
    )

    it.effect("accepts a database credential, which the SQL API refuses", () =>
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
})
