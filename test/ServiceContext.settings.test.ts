import { assert, describe, it, layer } from "@effect/vitest"
import { ServiceContext } from "effect-databricks"
import { ConfigProvider, Effect, Layer, Redacted, Schema } from "effect"
import { start, wrongSetting } from "./fixtures/start.ts"
import { Bed, refusalWith, startWith, tokensOf } from "./fixtures/workspaces.ts"

layer(Bed.layer)("ServiceContext", (it) => {
  describe("with blank settings", () => {
    it.effect("treats them as absent, and trims the others", () =>
      Effect.gen(function* () {
        const { a } = yield* Bed
        const blank = {
          DATABRICKS_TOKEN: " ",
          DATABRICKS_CONFIG_PROFILE: "\t",
          DATABRICKS_AUTH_TYPE: "",
          ARM_CLIENT_ID: "\n"
        }
        const client = { DATABRICKS_CLIENT_ID: " id ", DATABRICKS_CLIENT_SECRET: "secret\r\n" }
        yield* start({ ...blank, ...client, DATABRICKS_HOST: `${a.host}\n`, DATABRICKS_WORKSPACE_ID: " " })
        assert.include(tokensOf(yield* a.seen), `Basic ${Buffer.from("id:secret").toString("base64")}`)
        yield* startWith(
          { host: " ", profile: "", warehouseId: " ", workspaceId: "" },
          { DATABRICKS_HOST: a.host, DATABRICKS_TOKEN: "t\n" }
        )
        assert.deepStrictEqual(tokensOf(yield* a.seen), ["Bearer t"])
      })
    )

    it.effect("refuses a blank option that is a credential, and does not sign in as another principal", () =>
      Effect.gen(function* () {
        const { a } = yield* Bed
        const env = { DATABRICKS_HOST: a.host, DATABRICKS_TOKEN: "t" }
        const blank = Redacted.make(" ")
        assert.strictEqual(
          yield* refusalWith({ token: blank }, env),
          "The option token is blank: omit it, or set a value"
        )
        assert.match(
          yield* refusalWith({ clientId: "c", clientSecret: blank }, env),
          /^The option clientSecret is blank/
        )
        const error = yield* Effect.flip(Layer.build(ServiceContext.layer({ host: a.host, token: Redacted.make("") })))
        assert.strictEqual(error._tag, "ServiceContextError")
        assert.match(error.message, /^The option token is blank/)
        assert.deepStrictEqual(yield* a.seen, [])
      })
    )

    it.effect("refuses a token that no header can carry, and does not show it", () =>
      Effect.gen(function* () {
        const { a } = yield* Bed
        const said = yield* wrongSetting({ DATABRICKS_HOST: a.host, DATABRICKS_TOKEN: "first\nsecond" })
        assert.match(said, /^DATABRICKS_TOKEN contains a character that is not allowed in a header/)
        assert.notInclude(said, "second")
      })
    )
  })

  describe("with options and an environment", () => {
    it.effect("signs in with the options, whatever credentials the environment has", () =>
      Effect.gen(function* () {
        const { a, b, file, write } = yield* Bed
        write(`[p]\nhost = ${b.host}\ntoken = profile-token`)
        const apps = { DATABRICKS_HOST: a.host, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
        const environments = [
          apps,
          { DATABRICKS_HOST: a.host, DATABRICKS_TOKEN: "theirs" },
          { ...apps, DATABRICKS_AUTH_TYPE: "oauth-m2m" },
          { ...apps, DATABRICKS_AUTH_TYPE: "nonsense", DATABRICKS_TOKEN: "theirs" },
          { ...apps, DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: "p" }
        ]
        for (const env of environments) {
          yield* startWith({ token: Redacted.make("ours") }, env)
          assert.deepStrictEqual(tokensOf(yield* a.seen), ["Bearer ours"])
          yield* startWith({ host: b.host, token: Redacted.make("ours") }, env)
          assert.deepStrictEqual(tokensOf(yield* b.seen), ["Bearer ours"])
        }
        yield* startWith({ host: b.host, token: Redacted.make("ours") }, { ...apps, DATABRICKS_HOST: "no host" })
        yield* startWith({ profile: "p" }, { ...apps, DATABRICKS_CONFIG_FILE: file })
        assert.deepStrictEqual(tokensOf(yield* b.seen), ["Bearer ours", "Bearer profile-token"])
        assert.deepStrictEqual(yield* a.seen, [])
      })
    )

    it.effect("counts variables among the options before those of the environment", () =>
      Effect.gen(function* () {
        const { a, b } = yield* Bed
        const env = { DATABRICKS_HOST: a.host, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
        const environment = { DATABRICKS_TOKEN: Redacted.make("ours") }
        yield* startWith({ environment }, { ...env, DATABRICKS_AUTH_TYPE: "oauth-m2m" })
        assert.deepStrictEqual(tokensOf(yield* a.seen), ["Bearer ours"])
        assert.match(
          yield* refusalWith({ environment: { DATABRICKS_HOST: Redacted.make(b.host) } }, env),
          /^DATABRICKS_HOST is \S+, and DATABRICKS_CLIENT_ID is for \S+: take host and credentials from one place$/
        )
        assert.deepStrictEqual([...(yield* a.seen), ...(yield* b.seen)], [])
      })
    )

    it.effect("takes no workspace id of one host for another", () =>
      Effect.gen(function* () {
        const { a, b } = yield* Bed
        const env = { DATABRICKS_HOST: a.host, DATABRICKS_TOKEN: "t", DATABRICKS_WORKSPACE_ID: "7" }
        assert.strictEqual((yield* start(env)).workspaceId, "7")
        const service = yield* startWith({ host: b.host, token: Redacted.make("ours") }, env)
        assert.strictEqual(service.workspaceId, "1")
        assert.deepStrictEqual(new Set((yield* b.seen).map((_) => _.org)), new Set([undefined]))
        yield* a.seen
      })
    )

    it.effect("names both places where host and credentials are not of one", () =>
      Effect.gen(function* () {
        const { a, b, file, write } = yield* Bed
        write(`[full]\nhost = ${b.host}\ntoken = t\n[homeless]\ntoken = t`)
        const profile = (name: string) => ({ DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: name })
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_HOST: a.host, ...profile("full") }),
          `DATABRICKS_HOST is ${a.host}, and the token of the profile "full" in ${file} is for ${b.host}: take host and credentials from one place`
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_HOST: a.host, ...profile("homeless") }),
          `DATABRICKS_HOST is set, and the token of the profile "homeless" in ${file} is set without a host: take host and credentials from one place`
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_TOKEN: "t", ...profile("full") }),
          `The host of the profile "full" in ${file} is set, and DATABRICKS_TOKEN is set without a host: take host and credentials from one place`
        )
        assert.strictEqual(
          yield* refusalWith({ host: b.host }, { DATABRICKS_HOST: a.host, DATABRICKS_TOKEN: "t" }),
          `The option host is ${b.host}, and DATABRICKS_TOKEN is for ${a.host}: take host and credentials from one place`
        )
      })
    )

    const Setting = { host: Schema.Literals(["none", "a", "b"]), token: Schema.Boolean }
    it.effect.prop(
      "sends no credential to a host that it was not set for",
      [
        Schema.Struct({
          option: Schema.Struct(Setting),
          environment: Schema.Struct(Setting),
          profile: Schema.Struct(Setting),
          named: Schema.Literals(["by option", "by environment", "not at all"])
        })
      ],
      ([{ named, ...places }]) =>
        Effect.gen(function* () {
          const { a, b, file, write } = yield* Bed
          const hosts = { none: undefined, a: a.host, b: b.host }
          const line = (key: string, value: string | undefined) => (value === undefined ? "" : `${key} = ${value}\n`)
          const { environment, option, profile } = places
          write(
            `[p]\ncluster_id = c\n${line("host", hosts[profile.host])}${line("token", profile.token ? "profile" : undefined)}`
          )
          const env = {
            DATABRICKS_CONFIG_FILE: file,
            DATABRICKS_CLI_PATH: "/nowhere",
            DATABRICKS_HOST: hosts[environment.host] ?? "",
            ...(environment.token && { DATABRICKS_TOKEN: "environment" }),
            ...(named === "by environment" && { DATABRICKS_CONFIG_PROFILE: "p" })
          }
          const exit = yield* Effect.exit(
            startWith(
              {
                host: hosts[option.host],
                token: option.token ? Redacted.make("option") : undefined,
                profile: named === "by option" ? "p" : undefined
              },
              env
            )
          )
          const arrived = { a: tokensOf(yield* a.seen), b: tokensOf(yield* b.seen) }
          for (const [host, tokens] of Object.entries(arrived)) {
            for (const token of tokens) {
              // SCIM Me is never asked without a credential, and each credential is called by its place.
              const place = token!.slice("Bearer ".length) as keyof typeof places
              const home = places[place].host
              assert.isTrue(home === host || (home === "none" && place !== "profile"), `${place} went to ${host}`)
              if (option.token) assert.strictEqual(place, "option")
            }
          }
          if (option.host !== "none") assert.deepStrictEqual(arrived[option.host === "a" ? "b" : "a"], [])
          assert.strictEqual(exit._tag === "Success", arrived.a.length + arrived.b.length > 0)
        })
    )
  })
})

describe("ServiceContext.config", () => {
  it.effect("hides the value of every variable", () =>
    Effect.gen(function* () {
      const env = { DATABRICKS_SCOPES: "hush", DATABRICKS_WORKSPACE_ID: "hush", DATABRICKS_TOKEN: "hush" }
      assert.notInclude(JSON.stringify(yield* ServiceContext.config.parse(ConfigProvider.fromEnvRecord(env))), "hush")
    })
  )
})
