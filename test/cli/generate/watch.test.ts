import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Latch, Queue } from "effect"
import { watch } from "../../../src/cli/generate/watch.ts"

describe("generate, watch", () => {
  it.live("runs once at the start and once for all changes during a run, and never twice at a time", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const directory = yield* files.makeTempDirectoryScoped()
      const gate = yield* Latch.make()
      const started = yield* Queue.unbounded<number>()
      let running = 0
      const run = Effect.gen(function* () {
        yield* Queue.offer(started, ++running)
        yield* gate.await
        running--
      })
      // Another one sees the same changes, and waits for nothing.
      const seen = yield* Queue.unbounded<void>()
      yield* Effect.forkScoped(watch(directory, run))
      yield* Effect.forkScoped(watch(directory, Queue.offer(seen, undefined)))
      assert.strictEqual(yield* Queue.take(started), 1)
      yield* Queue.take(seen)
      for (const name of ["a.sql", "b.sql", "c.sql"]) {
        yield* files.writeFileString(`${directory}/${name}`, "SELECT 1")
        yield* Queue.take(seen)
      }
      assert.deepStrictEqual(yield* Queue.clear(started), [])
      yield* gate.open
      assert.strictEqual(yield* Queue.take(started), 1)
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
  )

  it.live("fails for a directory that is missing", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(watch("/nowhere/queries", Effect.void))
      assert.strictEqual(error._tag, "PlatformError")
    }).pipe(Effect.provide(NodeFileSystem.layer))
  )
})
