import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { start, wrongSetting } from "./fixtures/start.ts"
import { Bed, tokensOf } from "./fixtures/workspaces.ts"

layer(Bed.layer)("ServiceContext", (it) => {
  describe("with a profile", () => {
    const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, "utf16le")
    const texts: ReadonlyArray<readonly [what: string, file: (host: string) => string | Uint8Array]> = [
      ["a byte order mark", (host) => `\ufeff[DEFAULT]\nhost = ${host}\ntoken = profile-token`],
      ["UTF-16 of PowerShell", (host) => utf16(`[DEFAULT]\r\nhost = ${host}\r\ntoken = profile-token\r\n`)],
      [
        "blank keys of other ways to sign in",
        (host) => `[DEFAULT]\nhost=${host}\ntoken=profile-token\nclient_id =\nclient_secret = \nusername=\t\n`
      ],
      [
        "carriage returns, comments and quotes",
        (host) => `; mine\r\n[DEFAULT] # first\r\n# host = x\r\nhost: ${host} ; here\r\nTOKEN = "profile-token"\r\n`
      ],
      [
        "a default_profile in [__settings__]",
        (host) =>
          `[__settings__]\ndefault_profile = my.own\n\n[DEFAULT]\nhost = http://127.0.0.1:1\ntoken = other\n[my.own]\nhost = ${host}\ntoken = profile-token`
      ]
    ]
    for (const [what, file] of texts) {
      it.effect(`reads a file with ${what}`, () =>
        Effect.gen(function* () {
          const bed = yield* Bed
          bed.write(file(bed.a.host))
          assert.strictEqual((yield* start({ DATABRICKS_CONFIG_FILE: bed.file })).host, bed.a.host)
          assert.deepStrictEqual(tokensOf(yield* bed.a.seen), ["Bearer profile-token"])
        })
      )
    }

    it.effect("keeps # and ; inside a secret", () =>
      Effect.gen(function* () {
        const { a, file, write } = yield* Bed
        write(`[p]\nhost = ${a.host}\nclient_id = id\nclient_secret = do#se;1=2`)
        yield* start({ DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: "p" })
        const basic = `Basic ${Buffer.from("id:do#se;1=2").toString("base64")}`
        assert.include(tokensOf(yield* a.seen), basic)
      })
    )

    it.effect("names the profile and its file where one of them is missing", () =>
      Effect.gen(function* () {
        const { file, write } = yield* Bed
        write("[DEFAULT]\nhost = h\ntoken = t\n[__settings__]\ndefault_profile = gone")
        const missing = "DATABRICKS_CONFIG_FILE names a file that cannot be read (ENOENT): /nowhere"
        assert.strictEqual(yield* wrongSetting({ DATABRICKS_CONFIG_FILE: "/nowhere" }), missing)
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_CONFIG_FILE: "/nowhere", DATABRICKS_CONFIG_PROFILE: "p" }),
          missing
        )
        assert.match(yield* wrongSetting({ DATABRICKS_CONFIG_FILE: "/" }), /cannot be read \(EISDIR\): \/$/)
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_CONFIG_FILE: file }),
          `There is no profile "gone" in ${file}, which its default_profile names`
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: "__settings__" }),
          `There is no profile "__settings__" in ${file}: check DATABRICKS_CONFIG_PROFILE and DATABRICKS_CONFIG_FILE`
        )
      })
    )
  })
})
