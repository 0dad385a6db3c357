import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Host from "../../../src/internal/workspace/host.ts"

describe("host.parse", () => {
  it.effect("accepts a URL or a bare host name, and http only on this machine", () =>
    Effect.gen(function* () {
      const hosts = {
        "adb-1.2.azuredatabricks.net": "https://adb-1.2.azuredatabricks.net",
        " dbc-1.cloud.databricks.com\n": "https://dbc-1.cloud.databricks.com",
        "https://dbc-1.cloud.databricks.com/?o=12#job/3": "https://dbc-1.cloud.databricks.com",
        "HTTPS://User:Pw@DBC-1.cloud.databricks.com/": "https://dbc-1.cloud.databricks.com",
        "localhost:8443": "https://localhost:8443",
        "http://localhost:8080": "http://localhost:8080",
        "http://127.0.0.1:8080/": "http://127.0.0.1:8080",
        "http://[::1]:8080": "http://[::1]:8080"
      }
      for (const [given, host] of Object.entries(hosts)) assert.strictEqual((yield* Host.parse(given)).origin, host)
      for (const given of ["", "a b", "https://", "http://example.com", "http://127.0.0.1.example.com", "ftp://x"]) {
        assert.match((yield* Effect.flip(Host.parse(given))).cause.message, /^DATABRICKS_HOST /)
      }
      const withPassword = yield* Effect.flip(Host.parse("http://me:hidden@example.com"))
      assert.notInclude(withPassword.message, "hidden")
    })
  )
})
