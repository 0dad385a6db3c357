import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { write } from "../../../src/cli/generate/run.ts"

describe("generate, a file that is written", () => {
  it.live("is whole after an interruption, and leaves no part after a failure", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      const text = "x".repeat(1_000_000)
      yield* Effect.raceFirst(write({ path: `${directory}/a.ts`, text }), Effect.yieldNow)
      assert.strictEqual(yield* files.readFileString(`${directory}/a.ts`), text)
      yield* files.makeDirectory(`${directory}/b.ts/c`, { recursive: true })
      yield* Effect.flip(write({ path: `${directory}/b.ts`, text }))
      assert.sameMembers(yield* files.readDirectory(directory), ["a.ts", "b.ts"])
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
  )
})
