import { assert, describe, it } from "@effect/vitest"
import { Lakebase, ServiceContext, Telemetry } from "effect-databricks"
import { Cause, ConfigProvider, Effect, Exit, Layer } from "effect"
import * as RawServer from "../fixtures/rawServer.ts"
import { me } from "../fixtures/start.ts"
import * as Marks from "./marks.ts"
import { recording } from "./recorder.ts"

const secret = "s3cr3t-m4rk"
const marks = Marks.make([secret])

type Answer = readonly [status: number, body: string]

/** The host of a workspace that says what it is told to say, and `$sent` is whatever credential it was sent. */
const workspaceOf = (answers: { readonly token?: Answer; readonly me?: Answer }) =>
  Effect.map(
    RawServer.http((request, response) => {
      const [status, body] =
        request.url === "/token"
          ? (answers.token ?? [200, `{"access_token":"${secret}","expires_in":3600}`])
          : request.url === me
            ? (answers.me ?? [200, `{"id":"1","userName":"sp"}`])
            : [200, `{"token_endpoint":"http://${request.headers.host}/token"}`]
      response.writeHead(status).end(body.replace("$sent", request.headers.authorization ?? ""))
    }),
    ({ origin }) => origin
  )

const client = { DATABRICKS_CLIENT_ID: "id", DATABRICKS_CLIENT_SECRET: secret }
const token = { DATABRICKS_TOKEN: secret }

interface Start {
  readonly env: Readonly<Record<string, string>>
  readonly token?: Answer
  readonly me?: Answer
}

const refused: Readonly<Record<string, Start>> = {
  "only DATABRICKS_CLIENT_SECRET is set": { env: { DATABRICKS_CLIENT_SECRET: secret } },
  "a client and a token are both set": { env: { ...client, ...token } },
  "the host's URL holds a password": { env: { ...client, DATABRICKS_HOST: `http://user:${secret}@example.com` } },
  "the host's URL is invalid": { env: { ...client, DATABRICKS_HOST: `https://user:${secret}@` } },
  "no server listens at the host": { env: { ...token, DATABRICKS_HOST: `http://user:${secret}@127.0.0.1:1` } },
  "the token has two lines": { env: { DATABRICKS_TOKEN: `first\n${secret}` } },
  "the token does not fit a header": { env: { DATABRICKS_TOKEN: `ő${secret}` } },
  "the auth type is unknown": { env: { ...client, DATABRICKS_AUTH_TYPE: "nonsense" } },
  "the profile does not exist": { env: { ...client, DATABRICKS_CONFIG_PROFILE: "nobody" } },
  "the token endpoint refuses the client": {
    env: client,
    token: [401, `{"error":"invalid_client","error_description":"no ${secret}"}`]
  },
  "the token endpoint repeats the client's header": { env: client, token: [400, "$sent"] },
  "the token endpoint answers 503": { env: client, token: [503, `down: $sent ${secret}`] },
  "the token endpoint answers an empty token": {
    env: client,
    token: [200, `{"access_token":"","expires_in":1,"note":"${secret}"}`]
  },
  "the token endpoint answers half a JSON": { env: client, token: [200, `{"access_token":"${secret}`] },
  "the issued token has two lines": { env: client, token: [200, `{"access_token":"a\\n${secret}","expires_in":60}`] },
  "the workspace refuses the token": { env: client, me: [403, "Invalid access token. $sent"] },
  "the token lacks a scope": { env: token, me: [403, "Invalid scope, required scopes: all; was $sent"] },
  "the workspace answers 500": { env: token, me: [500, `{"message":"$sent"}`] },
  "the workspace answers HTML": { env: token, me: [200, "<html>$sent"] },
  "the workspace answers a redirect": { env: token, me: [302, "$sent"] },
  "the workspace does not send its id": { env: token }
}

const settings: Readonly<Record<string, readonly [Layer.Layer<never, unknown>, Readonly<Record<string, string>>]>> = {
  "OTEL_EXPORTER_OTLP_HEADERS is malformed": [
    Telemetry.layerConfig(),
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_HEADERS: `key=${secret}%ZZ` }
  ],
  "PGPORT is not a number": [
    Layer.effectDiscard(Lakebase.config),
    { PGHOST: "db", PGPASSWORD: secret, PGPORT: "none" }
  ],
  "PGSSLMODE is not supported": [
    Layer.effectDiscard(Lakebase.config),
    { PGHOST: "db", PGPASSWORD: secret, PGSSLMODE: "prefer" }
  ]
}

const from = (env: Readonly<Record<string, string>>) => ConfigProvider.layer(ConfigProvider.fromEnvRecord({ ...env }))

// Some wait for the retries of a start: at the same time.
describe.concurrent("The configuration", () => {
  const fails = Effect.fnUntraced(function* <A>(start: Layer.Layer<A, unknown>) {
    const { answer, ...recorded } = yield* recording(Effect.exit(Effect.scoped(Layer.build(start))))
    assert.isTrue(Exit.isFailure(answer) && Cause.hasFails(answer.cause), String(answer))
    assert.deepStrictEqual(marks.in([answer, recorded]), [])
  })

  for (const [what, { env, ...answers }] of Object.entries(refused)) {
    it.live(`fails without showing the secret when ${what}`, () =>
      Effect.gen(function* () {
        const settings = { DATABRICKS_HOST: yield* workspaceOf(answers), DATABRICKS_CONFIG_FILE: "/nowhere", ...env }
        yield* fails(Layer.fresh(ServiceContext.layerConfig()).pipe(Layer.provide(from(settings))))
      })
    )
  }

  for (const [what, [start, env]] of Object.entries(settings)) {
    it.live(`fails without showing the secret when ${what}`, () => fails(Layer.provide(Layer.fresh(start), from(env))))
  }

  it.live("hides the secrets of the environment in the options and layers made of it", () =>
    Effect.gen(function* () {
      const env = { ...client, ...token, DATABRICKS_HOST: "db", PGHOST: "db", PGPASSWORD: secret }
      const read = Effect.all([ServiceContext.config, Lakebase.config])
      const options = yield* Effect.provide(read, from(env))
      assert.deepStrictEqual(marks.in([options, ServiceContext.layer(options[0]), Lakebase.layer(options[1])]), [])
    })
  )
})
