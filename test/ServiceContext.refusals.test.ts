import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import type { Socket } from "node:net"
import { eventually } from "./fixtures/eventually.ts"
import * as RawServer from "./fixtures/rawServer.ts"
import { discovery, hurried, me, refusal, start, wrongSetting } from "./fixtures/start.ts"

const Workspace = LocalWorkspace.LocalWorkspace

/** A server that accepts connections and never answers. */
const silence = Effect.gen(function* () {
  const sockets = new Set<Socket>()
  let arrived = false
  const { origin } = yield* RawServer.tcp((socket) => {
    sockets.add(socket)
    socket
      .on("data", () => (arrived = true))
      .on("error", () => {})
      .on("close", () => sockets.delete(socket))
  })
  return { host: origin, arrived: eventually(() => arrived), idle: eventually(() => sockets.size === 0) }
})

/** The address of a workspace with this body for each path, for responses that the local workspace never gives. */
const answering = (bodies: Record<string, unknown>) =>
  Effect.map(
    RawServer.http((request, response) => {
      const body = bodies[request.url?.split("?")[0] ?? ""] ?? {}
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body))
    }),
    ({ origin }) => origin
  )

layer(LocalWorkspace.layer())("ServiceContext", (it) => {
  describe("with a wrong setting", () => {
    it.effect("fails with a sentence for each mistake in the host and the credentials", () =>
      Effect.gen(function* () {
        const { env, host, servicePrincipal, token } = yield* Workspace
        const id = { DATABRICKS_CLIENT_ID: servicePrincipal.clientId }
        const secret = { DATABRICKS_CLIENT_SECRET: Redacted.value(servicePrincipal.clientSecret) }
        const DATABRICKS_HOST = host
        const DATABRICKS_TOKEN = Redacted.value(yield* token(servicePrincipal.clientId))
        const hosted = (DATABRICKS_HOST: string) => ({ ...id, ...secret, DATABRICKS_HOST })

        const noHost =
          "DATABRICKS_HOST is not set: set it to the workspace's URL or host name, or name a DATABRICKS_CONFIG_PROFILE"
        assert.strictEqual(yield* wrongSetting({ ...id, ...secret }), noHost)
        assert.strictEqual(
          yield* wrongSetting(hosted("no host")),
          `DATABRICKS_HOST is neither a URL nor a host name: "no host"`
        )
        assert.strictEqual(
          yield* wrongSetting(hosted("http://example.com/x")),
          `DATABRICKS_HOST must begin with https://, or credentials would be sent in plaintext: "http://example.com"`
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_HOST, ...id }),
          "DATABRICKS_CLIENT_ID is set and DATABRICKS_CLIENT_SECRET is not: set both, or neither"
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_HOST, ...secret }),
          "DATABRICKS_CLIENT_SECRET is set and DATABRICKS_CLIENT_ID is not: set both, or neither"
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_HOST, DATABRICKS_CLI_PATH: "/nowhere/databricks" }),
          "No credentials are configured: set DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE; the Databricks CLI was not found (/nowhere/databricks): install it, or set DATABRICKS_CLI_PATH"
        )
        assert.strictEqual(
          yield* wrongSetting({ ...env, DATABRICKS_TOKEN }),
          "There is more than one way to sign in (DATABRICKS_TOKEN, DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET): keep one, or choose with DATABRICKS_AUTH_TYPE"
        )
        yield* start({ ...env, DATABRICKS_TOKEN, DATABRICKS_AUTH_TYPE: "pat" })
        assert.strictEqual(
          yield* refusal({ DATABRICKS_HOST, ...id, DATABRICKS_CLIENT_SECRET: "dose1" }),
          `${host} does not accept the service principal's credentials (POST /oidc/v1/token answered 401: Client authentication failed): check DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET`
        )
        const rejected = `${host} does not accept the service principal's credentials (GET ${me} answered 403: Invalid access token): check DATABRICKS_TOKEN`
        assert.strictEqual(yield* refusal({ DATABRICKS_HOST, DATABRICKS_TOKEN: "dapi1" }), rejected)
        const short = Redacted.value(yield* token(servicePrincipal.clientId, { ttl: "1 minute" }))
        yield* start({ DATABRICKS_HOST, DATABRICKS_TOKEN: short })
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* refusal({ DATABRICKS_HOST, DATABRICKS_TOKEN: short }), rejected)
        assert.strictEqual(
          yield* hurried(refusal(hosted("http://127.0.0.1:1"))),
          "http://127.0.0.1:1 cannot be reached (ECONNREFUSED): check DATABRICKS_HOST and the network"
        )
      })
    )

    it.effect("fails with a ServiceContextError of the same sentence from layer, whose options are not Config", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(ServiceContext.layer({ host: "no host" })))
        assert.instanceOf(error, ServiceContext.ServiceContextError)
        assert.strictEqual(error.message, `The option host is neither a URL nor a host name: "no host"`)
      })
    )

    it.effect(
      "fails with a sentence for a host name that does not resolve",
      () => {
        const DATABRICKS_HOST = "adb-1.workspace.invalid"
        return Effect.map(
          hurried(refusal({ DATABRICKS_HOST, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" })),
          (said) =>
            assert.match(
              said,
              /^https:\/\/adb-1.workspace.invalid cannot be reached \((ENOTFOUND|EAI_AGAIN)\): check DATABRICKS_HOST/
            )
        )
      },
      // The resolver of the machine decides how long that takes.
      180_000
    )

    const answers = [
      [
        "HTML",
        { status: 200, headers: { "content-type": "text/html" }, body: "<html>" },
        "200 with text/html in place of JSON"
      ],
      ["an empty body", { status: 200 }, "200 with an empty body"],
      [
        "JSON that is cut off",
        { status: 200, headers: { "content-type": "application/json" }, body: '{"id":"1","access_token":"eyJ' },
        "200 with JSON that is truncated or does not match its schema"
      ],
      ["404", { status: 404, body: "<html>" }, "404"],
      ["a redirect", { status: 302, headers: { location: "/login.html" } }, "with a redirect (302)"],
      ["500", { status: 500, body: "oops" }, "500: oops"]
    ] as const
    for (const [what, answer, said] of answers) {
      it.effect(`names the endpoint that answers with ${what}`, () =>
        Effect.gen(function* () {
          const { env, host, misbehave } = yield* Workspace
          for (const endpoint of [`GET ${discovery}`, "POST /oidc/v1/token", `GET ${me}`]) {
            const path = endpoint.split(" ")[1]!
            const got = yield* Effect.gen(function* () {
              // Discovery is for a host that refuses at the documented endpoint.
              if (path === discovery) yield* misbehave({ kind: "answer", path: "/oidc/v1/token", status: 404 })
              yield* misbehave({ kind: "answer", path, ...answer })
              return yield* hurried(refusal(env))
            }).pipe(Effect.scoped)
            const expected =
              what === "500"
                ? `${host} failed (${endpoint} answered ${said}): try again later`
                : `${host} does not answer as a Databricks workspace does (${endpoint} answered ${said}): check DATABRICKS_HOST`
            assert.strictEqual(got, expected)
          }
        })
      )
    }

    it.effect("fails and names DATABRICKS_WORKSPACE_ID when no response has the workspace id", () =>
      Effect.gen(function* () {
        const host = yield* answering({ [me]: { id: "1", userName: "sp" } })
        assert.strictEqual(
          yield* refusal({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: "t" }),
          `${host} does not say which workspace it is (GET ${me} has no x-databricks-org-id header): set DATABRICKS_WORKSPACE_ID`
        )
        const env = { DATABRICKS_HOST: host, DATABRICKS_TOKEN: "t", DATABRICKS_WORKSPACE_ID: "7" }
        assert.strictEqual((yield* start(env)).workspaceId, "7")
      })
    )

    it.effect("fails when SCIM says that the service principal has been deactivated", () =>
      Effect.gen(function* () {
        const host = yield* answering({ [me]: { id: "1", userName: "sp", active: false } })
        assert.strictEqual(
          yield* refusal({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: "t", DATABRICKS_WORKSPACE_ID: "7" }),
          `${host} says that the service principal sp has been deactivated: check DATABRICKS_TOKEN`
        )
      })
    )

    it.effect("never sends the secret to a token endpoint without https", () =>
      Effect.gen(function* () {
        const host = yield* answering({ [discovery]: { token_endpoint: "http://example.com/token" } })
        assert.strictEqual(
          yield* refusal({ DATABRICKS_HOST: host, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }),
          `${host} does not answer as a Databricks workspace does (GET ${discovery} names a token endpoint that is not an https:// address): check DATABRICKS_HOST`
        )
      })
    )
  })

  describe("with a silent workspace", () => {
    const cases = {
      "SCIM Me": { DATABRICKS_TOKEN: "t" },
      "the OAuth token": { DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
    }
    for (const [what, credentials] of Object.entries(cases)) {
      it.effect(`fails 10 s after it asked for ${what}, and closes its connections`, () =>
        Effect.gen(function* () {
          const { arrived, host, idle } = yield* silence
          const starting = yield* Effect.forkChild(refusal({ DATABRICKS_HOST: host, ...credentials }))
          yield* arrived
          yield* TestClock.adjust("9999 millis")
          assert.isUndefined(starting.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          assert.strictEqual(
            yield* Fiber.join(starting),
            `${host} did not answer within 10s: check DATABRICKS_HOST and the network`
          )
          yield* idle
        })
      )
    }
  })
})
