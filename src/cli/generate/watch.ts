/** Runs again when the files of a directory change. */
import { Effect, FileSystem, Queue, Stream } from "effect"

// An editor writes a file in several steps.
const settled = "50 millis"

/** Runs at once, and after changes: one run at a time, and one more for all changes during a run. Never ends. */
export const watch = <E, R>(directory: string, run: Effect.Effect<void, E, R>) =>
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const due = yield* Queue.sliding<void>(1)
    const changes = files
      .watch(directory, { onReady: () => void Queue.offerUnsafe(due, undefined) })
      .pipe(Stream.runForEach(() => Queue.offer(due, undefined)))
    const runs = Effect.gen(function* () {
      yield* Queue.take(due)
      yield* Effect.sleep(settled)
      yield* Queue.clear(due)
      yield* run
    }).pipe(Effect.forever)
    return yield* Effect.raceFirst(Effect.andThen(changes, Effect.never), runs)
  })
