import { assert, layer } from "@effect/vitest"
import { Lakebase, ServiceContext, Telemetry } from "effect-databricks"
import { Cause, ConfigProvider, Context, Effect, Exit, Layer } from "effect"
import * as RawServer from "../fixtures/rawServer.ts"
import { me } from "../fixtures/start.ts"
import * as Marks from "./marks.ts"
import { recording } from "./recorder.ts"

const secret = "s3cr3t-m4rk"
const marks = Marks.make([secret])

type Answer = readonly [status: number, body: string]

/** A workspace that says what it is told to say, and `$sent` is whatever credential it was sent. */
class Fake extends Context.Service<
  Fake,
  { readonly host: string; readonly answers: (answers: { readonly token?: Answer; readonly me?: Answer }) => void }
>()("test/Fake") {
  static readonly layer = Layer.effect(
    Fake,
    Effect.gen(function* () {
      let answers: { readonly token?: Answer; readonly me?: Answer } = {}
      const { origin: host } = yield* RawServer.http((request, response) => {
        const [status, body] =
          request.url === "/token"
            ? (answers.token ?? [200, `{"access_token":"${secret}","expires_in":3600}`])
            : request.url === me
              ? (answers.me ?? [200, `{"id":"1","userName":"sp"}`])
              : [200, `{"token_endpoint":"${host}/token"}`]
        response.writeHead(status).end(body.replace("$sent", request.headers.authorization ?? ""))
      })
      return { host, answers: (next) => (answers = next) }
    })
  )
}

const client = { DATABRICKS_CLIENT_ID: "id", DATABRICKS_CLIENT_SECRET: secret }
const token = { DATABRICKS_TOKEN: secret }

interface Start {
  readonly env: Readonly<Record<string, string>>
  readonly token?: Answer
  readonly me?: Answer
}

const refused: Readonly<Record<string, Start>> = {
  "half of the client": { env: { DATABRICKS_CLIENT_SECRET: secret } },
  "two ways to sign in": { env: { ...client, ...token } },
  "a user in the host's address": { env: { ...client, DATABRICKS_HOST: `http://user:${secret}@example.com` } },
  "an address that is none": { env: { ...client, DATABRICKS_HOST: `https://user:${secret}@` } },
  "nobody at the host": { env: { ...token, DATABRICKS_HOST: `http://user:${secret}@127.0.0.1:1` } },
  "a token of two lines": { env: { DATABRICKS_TOKEN: `first\n${secret}` } },
  "a token that is no header": { env: { DATABRICKS_TOKEN: `ő${secret}` } },
  "an unknown way to sign in": { env: { ...client, DATABRICKS_AUTH_TYPE: "nonsense" } },
  "a profile that is not there": { env: { ...client, DATABRICKS_CONFIG_PROFILE: "nobody" } },
  "a client that is refused": {
    env: client,
    token: [401, `{"error":"invalid_client","error_description":"no ${secret}"}`]
  },
  "a client whose header is repeated": { env: client, token: [400, "$sent"] },
  "a token endpoint that fails": { env: client, token: [503, `down: $sent ${secret}`] },
  "an answer without a token": { env: client, token: [200, `{"access_token":"","expires_in":1,"note":"${secret}"}`] },
  "an answer that breaks off": { env: client, token: [200, `{"access_token":"${secret}`] },
  "a token that no header can carry": { env: client, token: [200, `{"access_token":"a\\n${secret}","expires_in":60}`] },
  "a token that is refused": { env: client, me: [403, "Invalid access token. $sent"] },
  "a token without a scope": { env: token, me: [403, "Invalid scope, required scopes: all; was $sent"] },
  "a workspace that fails": { env: token, me: [500, `{"message":"$sent"}`] },
  "a workspace that is none": { env: token, me: [200, "<html>$sent"] },
  "a redirect": { env: token, me: [302, "$sent"] },
  "a workspace that does not say which": { env: token }
}

const settings: Readonly<Record<string, readonly [Layer.Layer<never, unknown>, Readonly<Record<string, string>>]>> = {
  "headers of telemetry": [
    Telemetry.layerConfig(),
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_EXPORTER_OTLP_HEADERS: `key=${secret}%ZZ` }
  ],
  "a port of the database": [
    Layer.effectDiscard(Lakebase.config),
    { PGHOST: "db", PGPASSWORD: secret, PGPORT: "none" }
  ],
  "a mode of the database": [
    Layer.effectDiscard(Lakebase.config),
    { PGHOST: "db", PGPASSWORD: secret, PGSSLMODE: "prefer" }
  ]
}

const from = (env: Readonly<Record<string, string>>) => ConfigProvider.layer(ConfigProvider.fromEnvRecord({ ...env }))

layer(Fake.layer, { excludeTestServices: true })("a start that fails says why, without the secret", (it) => {
  const fails = Effect.fnUntraced(function* <A>(start: Layer.Layer<A, unknown>) {
    const { answer, ...recorded } = yield* recording(Effect.exit(Effect.scoped(Layer.build(start))))
    assert.isTrue(Exit.isFailure(answer) && Cause.hasFails(answer.cause), String(answer))
    assert.deepStrictEqual(marks.in([answer, recorded]), [])
  })

  for (const [what, { env, ...answers }] of Object.entries(refused)) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const fake = yield* Fake
        fake.answers(answers)
        const settings = { DATABRICKS_HOST: fake.host, DATABRICKS_CONFIG_FILE: "/nowhere", ...env }
        yield* fails(Layer.fresh(ServiceContext.layerConfig()).pipe(Layer.provide(from(settings))))
      })
    )
  }

  for (const [what, [start, env]] of Object.entries(settings)) {
    it.effect(what, () => fails(Layer.provide(Layer.fresh(start), from(env))))
  }

  it.effect("nor does what is read of the environment show it", () =>
    Effect.gen(function* () {
      const env = { ...client, ...token, DATABRICKS_HOST: "db", PGHOST: "db", PGPASSWORD: secret }
      const read = Effect.all([ServiceContext.config, Lakebase.config])
      const options = yield* Effect.provide(read, from(env))
      assert.deepStrictEqual(marks.in([options, ServiceContext.layer(options[0]), Lakebase.layer(options[1])]), [])
    })
  )
})
