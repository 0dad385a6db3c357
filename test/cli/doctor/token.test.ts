import { assert, describe, it } from "@effect/vitest"
import { scopesIn } from "../../../src/cli/doctor/token.ts"

const jwt = (claims: unknown) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`

describe("scopesIn", () => {
  it("reads the scopes of a JWT as a list or as one text", () => {
    assert.deepStrictEqual(scopesIn(jwt({ scope: "sql  postgres" })), new Set(["sql", "postgres"]))
    assert.deepStrictEqual(scopesIn(jwt({ scope: ["sql"] })), new Set(["sql"]))
  })

  it("knows none of a token that lists none", () => {
    for (const token of ["dapi0123", "", "a.b.c", jwt({ sub: "1" }), jwt({ scope: 1 })]) {
      assert.isUndefined(scopesIn(token), token)
    }
  })
})
