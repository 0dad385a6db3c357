import { Config } from "@databricks/sdk-experimental/dist/config/Config.js"
import { assert, describe, it } from "@effect/vitest"
import { attributes } from "../../../src/internal/workspace/attributes.ts"

describe("The settings of the auth chain", () => {
  it("are those of the SDK", () =>
    assert.deepStrictEqual(
      attributes,
      Array.from(new Config({}).attributes, ({ auth, confName = "", envVar, name }) => ({
        name,
        confName,
        envVar,
        auth
      }))
    ))
})
