import { assert, describe, it } from "@effect/vitest"
import { names, typeOf } from "../../../src/internal/queries/types.ts"

describe("the text of a parameter", () => {
  for (const type of names.split(", ")) {
    // Backtracking over so many digits would take minutes, and stop the server for all users.
    it(`is read in linear time as ${type}`, () => {
      for (const digit of ["0", "1", "-"]) {
        const { problem } = typeOf(type)!.read(`${digit.repeat(300_000)}x`)
        assert.strictEqual(problem === undefined, type === "STRING")
      }
    })
  }
})
