import { assert, describe, layer } from "@effect/vitest"
import { getWorkspaceClient, provideUser, ServiceContext } from "effect-databricks"
import { Effect, Redacted } from "effect"
import { HttpClientRequest } from "effect/http"
import { discovery, hurried, layerOf, me, refusal, start, wrongSetting } from "./fixtures/start.ts"
import { Bed, refusalWith, type Seen, startWith } from "./fixtures/workspaces.ts"

layer(Bed.layer)("ServiceContext", (it) => {
  describe("with a way to sign in that cannot be", () => {
    const cases: ReadonlyArray<readonly [what: string, env: Record<string, string>, says: RegExp]> = [
      [
        "an unknown DATABRICKS_AUTH_TYPE",
        { DATABRICKS_TOKEN: "t", DATABRICKS_AUTH_TYPE: "patt" },
        /^DATABRICKS_AUTH_TYPE is not one of pat, oauth-m2m, .*: "patt"$/
      ],
      [
        "an auth type that every object has",
        { DATABRICKS_TOKEN: "t", DATABRICKS_AUTH_TYPE: "constructor" },
        /^DATABRICKS_AUTH_TYPE is not one of /
      ],
      [
        "an auth type without its settings",
        { DATABRICKS_TOKEN: "t", DATABRICKS_AUTH_TYPE: "basic" },
        /^DATABRICKS_AUTH_TYPE is basic, which needs DATABRICKS_USERNAME and DATABRICKS_PASSWORD$/
      ],
      [
        "a Databricks CLI that is not installed",
        { DATABRICKS_AUTH_TYPE: "databricks-cli", DATABRICKS_CLI_PATH: "/nowhere/databricks" },
        /^DATABRICKS_AUTH_TYPE is databricks-cli, and the Databricks CLI was not found \(\/nowhere\/databricks\): install it, or set DATABRICKS_CLI_PATH$/
      ],
      ["a user name without a password", { DATABRICKS_USERNAME: "u" }, /^DATABRICKS_USERNAME is not enough to sign in/]
    ]
    for (const [what, env, says] of cases) {
      it.effect(`names ${what}`, () =>
        Effect.gen(function* () {
          const { a } = yield* Bed
          assert.match(yield* wrongSetting({ DATABRICKS_HOST: a.host, ...env }), says)
        })
      )
    }

    it.effect("names the auth_type of a profile", () =>
      Effect.gen(function* () {
        const { a, file, write } = yield* Bed
        write(`[p]\nhost = ${a.host}\nauth_type = databricks-cli\n[q]\nhost = ${a.host}\nauth_type = oauth\ntoken = t`)
        const env = { DATABRICKS_CONFIG_FILE: file, DATABRICKS_CLI_PATH: "/nowhere/databricks" }
        assert.match(
          yield* wrongSetting({ ...env, DATABRICKS_CONFIG_PROFILE: "p" }),
          /^The auth_type of the profile "p" in \S+ is databricks-cli, and the Databricks CLI was not found/
        )
        assert.match(
          yield* wrongSetting({ ...env, DATABRICKS_CONFIG_PROFILE: "q" }),
          /^The auth_type of the profile "q" in \S+ is not one of .*: "oauth"$/
        )
      })
    )
  })

  describe("with a workspace that refuses", () => {
    const client = { DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
    const token = { DATABRICKS_TOKEN: "t" }
    const answers: ReadonlyArray<
      readonly [what: string, env: Record<string, string>, answer: readonly [string, number, string], says: RegExp]
    > = [
      [
        "the IP access list",
        token,
        [
          me,
          403,
          `{"error_code":"403","message":"Source IP address: 203.0.113.9 is blocked by Databricks IP ACL for workspace: 1"}`
        ],
        /does not allow access from this network \(.*203\.0\.113\.9.*\): add the address of this machine to the workspace's IP access list$/
      ],
      [
        "the IP access list at the sign-in",
        client,
        [discovery, 403, `{"message":"Unauthorized network access to workspace: 1"}`],
        /does not allow access from this network/
      ],
      [
        "a scope that the secret lacks",
        client,
        [
          "/token",
          400,
          `{"error":"invalid_request","error_description":"Scopes 'all-apis' are not assigned to the client."}`
        ],
        /Scopes 'all-apis' are not assigned.*\): set DATABRICKS_SCOPES, or the option scopes/
      ],
      [
        "an invalid scope",
        client,
        ["/token", 400, `{"error":"invalid_scope"}`],
        /set DATABRICKS_SCOPES, or the option scopes/
      ],
      [
        "a workspace that is not chosen",
        client,
        [discovery, 400, `{"message":"Unable to load OAuth Config"}`],
        /add \?o=<workspace id> to DATABRICKS_HOST, or set DATABRICKS_WORKSPACE_ID$/
      ],
      [
        "any other 400 of the token endpoint",
        client,
        ["/token", 400, `{"error":"unauthorized_client","error_description":"disabled"}`],
        /does not accept the service principal's credentials \(POST \/token answered 400: disabled\): check DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET$/
      ]
    ]
    for (const [what, env, answer, says] of answers) {
      it.effect(`names ${what}`, () =>
        Effect.gen(function* () {
          const { a } = yield* Bed
          yield* a.answers(...answer)
          assert.match(yield* refusal({ DATABRICKS_HOST: a.host, ...env }), says)
          yield* a.seen
        }).pipe(Effect.scoped)
      )
    }
  })

  describe("with a host that has no token endpoint where Databricks documents it", () => {
    const client = { DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
    const asked = (seen: ReadonlyArray<Seen>) => seen.map(({ path }) => path)

    it.effect("signs in at the one that it names", () =>
      Effect.gen(function* () {
        const { a } = yield* Bed
        yield* start({ DATABRICKS_HOST: a.host, ...client })
        assert.deepStrictEqual(asked(yield* a.seen), ["/oidc/v1/token", discovery, "/token", me])
      })
    )

    it.effect("asks for another if the first refuses, but not if it is overloaded", () =>
      Effect.gen(function* () {
        const { a } = yield* Bed
        for (const status of [302, 400, 401, 403, 404, 501]) {
          yield* Effect.scoped(
            Effect.andThen(a.answers("/oidc/v1/token", status, "{}"), start({ DATABRICKS_HOST: a.host, ...client }))
          )
          assert.deepStrictEqual(asked(yield* a.seen), ["/oidc/v1/token", discovery, "/token", me], String(status))
        }
        for (const status of [429, 500, 503]) {
          yield* Effect.scoped(
            Effect.andThen(
              a.answers("/oidc/v1/token", status, "{}"),
              hurried(refusal({ DATABRICKS_HOST: a.host, ...client }))
            )
          )
          assert.deepStrictEqual([...new Set(asked(yield* a.seen))], ["/oidc/v1/token"], String(status))
        }
      })
    )
  })

  describe("of a host that has several workspaces", () => {
    const client = { DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
    const token = Redacted.make("t")
    const cases: Record<string, (host: string) => readonly [ServiceContext.Options, Record<string, string>]> = {
      "?o= of the option host": (host) => [{ host: `${host}/?o=123`, token }, {}],
      "?o= of DATABRICKS_HOST": (host) => [{}, { ...client, DATABRICKS_HOST: `${host}?o=123#job/7` }],
      "?o= of a profile's host": (host) => [{ profile: "p" }, { DATABRICKS_HOST: host, ...client }],
      DATABRICKS_WORKSPACE_ID: (host) => [{}, { ...client, DATABRICKS_HOST: host, DATABRICKS_WORKSPACE_ID: "123" }],
      "the option workspaceId": (host) => [
        { workspaceId: "123" },
        { ...client, DATABRICKS_HOST: `${host}/?o=4`, DATABRICKS_WORKSPACE_ID: "5" }
      ]
    }
    for (const [what, settings] of Object.entries(cases)) {
      it.effect(`sends X-Databricks-Org-Id with every request, from ${what}`, () =>
        Effect.gen(function* () {
          const { a, file, write } = yield* Bed
          write(`[p]\nhost = ${a.host}/?o=123\ntoken = t`)
          const [overrides, env] = settings(a.host)
          yield* Effect.gen(function* () {
            const client = yield* getWorkspaceClient
            yield* client.request(HttpClientRequest.get("/api/2.0/thing"))
            yield* client.use((sdk) => sdk.jobs.get({ job_id: 7 }))
            yield* provideUser(client.request(HttpClientRequest.get("/api/2.0/own")), {
              "x-forwarded-user": "2",
              "x-forwarded-access-token": "user-token"
            })
            yield* client.fetch(HttpClientRequest.get(`${a.host}/link`))
            const { workspaceId } = yield* ServiceContext.ServiceContext
            assert.strictEqual(workspaceId, "123")
          }).pipe(Effect.provide(layerOf({ DATABRICKS_CONFIG_FILE: file, ...env }, overrides), { local: true }))
          const seen = yield* a.seen
          assert.isAbove(seen.length, 4)
          for (const { org, path } of seen) assert.strictEqual(org, path === "/link" ? undefined : "123", path)
        })
      )
    }

    it.effect("names a workspace id that is not a number, and two that differ", () =>
      Effect.gen(function* () {
        const { a } = yield* Bed
        const env = { DATABRICKS_HOST: `${a.host}/?o=1`, DATABRICKS_TOKEN: "t" }
        assert.strictEqual(
          yield* wrongSetting({ ...env, DATABRICKS_WORKSPACE_ID: "2" }),
          "DATABRICKS_WORKSPACE_ID is 2, and the host has ?o=1: keep one"
        )
        assert.match(
          yield* wrongSetting({ ...env, DATABRICKS_WORKSPACE_ID: "1\r\nx: y" }),
          /^DATABRICKS_WORKSPACE_ID is not/
        )
        assert.match(
          yield* wrongSetting({ ...env, DATABRICKS_HOST: `${a.host}/?o=one` }),
          /^DATABRICKS_HOST has an \?o= /
        )
      })
    )
  })

  describe("asks for scopes", () => {
    it.effect("of the option, of DATABRICKS_SCOPES, of the profile, else for all-apis", () =>
      Effect.gen(function* () {
        const { a, file, write } = yield* Bed
        const client = { DATABRICKS_HOST: a.host, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
        write(`[p]\nhost = ${a.host}\nclient_id = c\nclient_secret = s\nscopes = sql, genie`)
        const scope = Effect.map(a.seen, (seen) =>
          new URLSearchParams(seen.find((_) => _.path === "/token")?.body).get("scope")
        )
        yield* start(client)
        assert.strictEqual(yield* scope, "all-apis")
        yield* start({ ...client, DATABRICKS_SCOPES: "sql postgres,iam.current-user:read" })
        assert.strictEqual(yield* scope, "sql postgres iam.current-user:read")
        yield* start({ DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: "p" })
        assert.strictEqual(yield* scope, "sql genie")
        yield* startWith({ scopes: ["files"] }, { ...client, DATABRICKS_SCOPES: "sql" })
        assert.strictEqual(yield* scope, "files")
        assert.strictEqual(
          yield* refusalWith({ scopes: ["sql genie"] }, client),
          `The option scopes contains a value that is not an OAuth scope: "sql genie"`
        )
      })
    )
  })
})
