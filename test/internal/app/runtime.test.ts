import { assert, describe, it } from "@effect/vitest"
import { unsupported } from "../../../src/internal/app/runtime.ts"

describe("runtime.unsupported", () => {
  it("names the Node that is needed, and the runtime that it is not", () => {
    for (const [versions, said] of [
      [{ node: "20.20.2" }, "this is Node 20.20.2"],
      [{ node: "22.15.9" }, "this is Node 22.15.9"],
      [{ node: "24.3.0", bun: "1.4.5" }, "this is Bun 1.4.5"]
    ] as const) {
      assert.match(String(unsupported(versions)), /^effect-databricks needs Node 22\.16 or later, and /)
      assert.include(unsupported(versions), said)
    }
  })

  it("takes 22.16 and later", () => {
    for (const node of ["22.16.0", "22.21.1", "24.0.0"]) assert.isUndefined(unsupported({ node }))
  })
})
