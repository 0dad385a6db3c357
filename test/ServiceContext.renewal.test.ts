import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient, ServiceContext, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Redacted, Schema, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { alice, as } from "./fixtures/people.ts"
import { Caller } from "./fixtures/sqlWarehouse.ts"
import { layerOf, me } from "./fixtures/start.ts"
import { seenAs, serviceContext } from "./fixtures/workspace.ts"

const Workspace = LocalWorkspace.LocalWorkspace

const Live = SqlWarehouse.layer.pipe(Layer.provideMerge(serviceContext()))

/** Runs with a service principal that has a token of its own. */
const fresh = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, Layer.fresh(Live))

/** The workspace refuses the service principal's token from here on. */
const revoked = Effect.gen(function* () {
  const { principal } = yield* ServiceContext.ServiceContext
  const authorization = Redacted.value(yield* principal.authorization)
  const { revoke } = yield* Workspace
  yield* revoke(Redacted.make(authorization.replace("Bearer ", "")))
})

const requestsOf = <A, E, R>(path: string, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { requests } = yield* Workspace
    const { length } = yield* requests
    yield* effect
    return (yield* requests).slice(length).filter((_) => _.path === path).length
  })

const minted = <A, E, R>(effect: Effect.Effect<A, E, R>) => requestsOf("/oidc/v1/token", effect)

const viaSdk = Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.currentUser.me()))

const calls: Record<
  string,
  Effect.Effect<unknown, unknown, Layer.Success<typeof Live> | LocalWorkspace.LocalWorkspace>
> = {
  "a request": seenAs,
  "a call of the SDK": viaSdk,
  "a request for a database token": Effect.gen(function* () {
    const [{ send }, { endpoint }] = yield* Effect.all([getWorkspaceClient, Workspace])
    const request = HttpClientRequest.post("/api/2.0/postgres/credentials")
    yield* send(HttpClientRequest.bodyJsonUnsafe(request, { endpoint }))
  }),
  "a statement": SqlWarehouse.query(Caller)`SELECT current_user AS caller`
}

layer(LocalWorkspace.layer())("ServiceContext", (it) => {
  for (const [what, call] of Object.entries(calls)) {
    it.effect(`sends ${what} once more, with a new token, when the service principal's is refused`, () =>
      Effect.gen(function* () {
        for (let round = 0; round < 3; round++) {
          yield* revoked
          assert.strictEqual(yield* minted(call), 1)
          assert.strictEqual(yield* minted(call), 0)
        }
      }).pipe(fresh)
    )
  }

  it.effect("fetches one new token for 100 calls that are refused at once", () =>
    Effect.gen(function* () {
      yield* revoked
      const all = Effect.all(
        Array.from({ length: 100 }, () => seenAs),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(yield* minted(all), 1)
    }).pipe(fresh)
  )

  for (const [status, body] of [
    [401, `{"error_code":401,"message":"Credential was not sent or was of an unsupported type for this API."}`],
    [403, `{"error_code":403,"message":"Invalid access token."}`],
    [403, `{"error_code":"403","message":"Invalid Token"}`]
  ] as const) {
    it.effect(`fetches one token in 10 s for an API that refuses every token with ${status} ${body}`, () =>
      Effect.gen(function* () {
        const { misbehave } = yield* Workspace
        yield* misbehave({ kind: "answer", path: me, status, body })
        const refused = Effect.map(Effect.flip(seenAs), (error) => {
          assert.strictEqual((error as { reason?: { _tag: string } }).reason?._tag, "InvalidCredentialError")
        })
        const many = Effect.replicateEffect(refused, 20)
        assert.strictEqual(yield* minted(many), 1)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* minted(many), 1)
      }).pipe(Effect.scoped, fresh)
    )
  }

  it.effect("fetches no token for a user's that is refused, nor for a call that the principal may not make", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* Workspace
      const body = `{"error_code":"PERMISSION_DENIED","message":"User has no token permission"}`
      yield* misbehave({ kind: "answer", path: me, status: 403, body, times: 1 })
      assert.strictEqual(yield* minted(Effect.flip(seenAs)), 0)
      const client = yield* getWorkspaceClient
      const statements = HttpClientRequest.get("/api/2.0/sql/statements/x")
      yield* misbehave({ kind: "answer", path: "/api/2.0/sql/statements/x", status: 401 })
      assert.strictEqual(yield* minted(Effect.flip(client.request(statements)).pipe(as(alice))), 0)
    }).pipe(Effect.scoped, fresh)
  )

  it.effect("does not repeat a stream of bytes that is refused, and replaces the token for the next call", () =>
    Effect.gen(function* () {
      yield* revoked
      const client = yield* getWorkspaceClient
      const body = Stream.make(new TextEncoder().encode(JSON.stringify({ instance_names: [] })))
      const request = HttpClientRequest.post("/api/2.0/database/credentials").pipe(
        HttpClientRequest.bodyStream(body, { contentType: "application/json" })
      )
      assert.strictEqual((yield* Effect.flip(client.request(request))).reason._tag, "InvalidCredentialError")
      assert.strictEqual(yield* minted(client.requestJson(HttpClientRequest.get(me), Schema.Unknown)), 1)
    }).pipe(fresh)
  )

  it.effect("asks once with a personal access token that is refused, because it cannot be renewed", () =>
    Effect.gen(function* () {
      const { host, revoke, servicePrincipal, token } = yield* Workspace
      const pat = yield* token(servicePrincipal.clientId)
      const service = layerOf({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: Redacted.value(pat) })
      yield* Effect.gen(function* () {
        yield* revoke(pat)
        const refused = Effect.all([Effect.flip(seenAs), Effect.flip(seenAs)])
        assert.strictEqual(yield* requestsOf(me, refused), 2)
      }).pipe(Effect.provide(service, { local: true }))
    })
  )

  it.effect("asks the Databricks CLI for another token when the one it gave is refused", () =>
    Effect.gen(function* () {
      const { host, revoke, servicePrincipal, token } = yield* Workspace
      const directory = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "cli-"))),
        (path) => Effect.promise(() => rm(path, { recursive: true }))
      )
      const cli = join(directory, "databricks")
      const gives = Effect.fnUntraced(function* (access_token: Redacted.Redacted) {
        const answer = JSON.stringify({ access_token: Redacted.value(access_token), expiry: "2999-01-01T00:00:00Z" })
        const script = `#!/bin/sh\nif [ "$1" = version ]; then echo 1.0.0; else echo '${answer}'; fi\n`
        yield* Effect.promise(() => writeFile(cli, script))
        yield* Effect.promise(() => chmod(cli, 0o755))
      })
      const first = yield* token(servicePrincipal.clientId)
      yield* gives(first)
      const env = { DATABRICKS_HOST: host, DATABRICKS_AUTH_TYPE: "databricks-cli", DATABRICKS_CLI_PATH: cli }
      yield* Effect.gen(function* () {
        assert.strictEqual(yield* seenAs, "service")
        yield* gives(yield* token(servicePrincipal.clientId))
        yield* revoke(first)
        const many = Effect.all(
          Array.from({ length: 20 }, () => seenAs),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(new Set(yield* many), new Set(["service"]))
      }).pipe(Effect.provide(layerOf(env), { local: true }))
    }).pipe(Effect.scoped)
  )
})
