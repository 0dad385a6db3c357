import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { path } from "../../../src/internal/workspace/path.ts"

describe("path", () => {
  it.prop("keeps any well-formed id one segment, which decodes to the id", { id: Schema.String }, ({ id }) => {
    if (!id.isWellFormed()) return assert.isFalse(path`/${id}`.isWellFormed())
    const segments = path`/api/2.0/genie/spaces/${id}/messages`.split("/")
    assert.lengthOf(segments, 7)
    assert.strictEqual(decodeURIComponent(segments[5]!), id)
  })
})
