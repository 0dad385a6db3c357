import { assert, layer } from "@effect/vitest"
import { Files } from "effect-databricks"
import type { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Data, Deferred, Effect, Exit, Fiber, Latch, Stream } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { bytes, bytesOf, failureOf, Live, misbehave, recording, shared, textOf, Workspace } from "./fixtures/files.ts"
import { alice, as } from "./fixtures/people.ts"

class Torn extends Data.TaggedError("Torn")<{}> {}

const api = "/api/2.0/fs/files/"
const size = 3_000_000

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Files", (it) => {
  it.layer(Live)("read", (it) => {
    it.effect("returns the bytes of a range, with what the range is of", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("letters", "abcdefghij")
        const ranges: ReadonlyArray<readonly [Files.Range, string, number]> = [
          [{ start: 2, end: 4 }, "cde", 2],
          [{ start: 7 }, "hij", 7],
          [{ start: 0, end: 99 }, "abcdefghij", 0],
          [{ start: -3 }, "hij", 7],
          [{ start: -99 }, "abcdefghij", 0]
        ]
        for (const [range, text, start] of ranges) {
          assert.strictEqual(yield* textOf(files.read("letters", { range })), text)
          const file = yield* files.open("letters", { range })
          assert.deepInclude(file, {
            path: "letters",
            size: 10,
            contentLength: text.length,
            range: { start, end: start + text.length - 1 },
            contentType: "application/octet-stream"
          })
          assert.isDefined(file.lastModified)
        }
      }).pipe(Effect.scoped)
    )

    it.effect("refuses a range of no bytes, and one beyond the end", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("short", "abc")
        const seen = yield* recording
        for (const range of [{ start: 2, end: 1 }, { start: 0.5 }, { start: -1, end: 2 }, { start: Number.NaN }]) {
          const failure = yield* failureOf(Stream.runDrain(files.read("short", { range })))
          assert.strictEqual(failure, "InvalidRangeError")
        }
        assert.deepStrictEqual(yield* seen, [])
        const error = yield* Effect.flip(Stream.runDrain(files.read("short", { range: { start: 3 } })))
        assert.strictEqual(error.message, `The range of short cannot be read: it begins beyond the end of the file`)
      })
    )

    it.effect("fails for other bytes than those of the range", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("other", "abcdefghij")
        const middle = { start: 2, end: 4 }
        const part = (range: string, body: string): LocalWorkspace.Misbehaviour => ({
          kind: "answer",
          status: 206,
          body,
          headers: { "content-range": `bytes ${range}` }
        })
        const answers: ReadonlyArray<readonly [Files.Range, LocalWorkspace.Misbehaviour]> = [
          [middle, { kind: "answer", status: 200, body: "abcdefghij" }],
          [middle, part("0-2/10", "abc")],
          [middle, part("2-3/10", "cd")],
          [middle, part("2-9/10", "cdefghij")],
          [middle, { kind: "truncate" }],
          [{ start: 2 }, part("2-8/10", "cdefghi")],
          [{ start: -3 }, part("6-8/10", "ghi")],
          [{ start: -3 }, part("8-9/10", "ij")]
        ]
        for (const [range, answer] of answers) {
          yield* misbehave({ ...answer, path: api, times: 1 })
          const failure = yield* failureOf(Stream.runDrain(files.read("other", { range })))
          assert.strictEqual(failure, "InvalidResponseError", JSON.stringify([range, answer]))
        }
        const seen = yield* recording
        yield* misbehave({ kind: "answer", status: 200, body: "x".repeat(40_000_000), path: api, times: 1 })
        yield* Effect.flip(Stream.runDrain(files.read("other", { range: middle })))
        // The collection of garbage aborts the request too, but later.
        for (let trip = 0; trip < 20; trip++) yield* files.exists("other")
        assert.isTrue((yield* seen)[0]!.aborted)
      }).pipe(Effect.scoped)
    )

    it.effect("fails when the content is cut, and says after how many bytes", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("cut", bytes(size))
        yield* misbehave({ kind: "cut", path: api, times: 1 })
        const error = yield* Effect.flip(Stream.runDrain(files.read("cut")))
        assert.match(
          error.message,
          /shared\/cut broke off after \d+ of 3000000 bytes \(UND_ERR_SOCKET\): read the file again/
        )
        assert.strictEqual(yield* failureOf(Effect.fail(error)), "ConnectionError")
      }).pipe(Effect.scoped)
    )

    it.effect("fails when the content stalls for the idle timeout, and aborts the request", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("stall", bytes(size))
        yield* misbehave({ kind: "stall", path: api, times: 1 })
        const seen = yield* recording
        const error = yield* Effect.flip(Stream.runDrain(files.read("stall", { idleTimeout: "200 millis" })))
        assert.match(error.message, /^files.read received nothing for 200ms, after \d+ of 3000000 bytes$/)
        yield* eventually(seen, ([request]) => request!.aborted)
      }).pipe(Effect.scoped)
    )

    it.effect("does not count the time of a slow reader as idle", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("slow", bytes(300_000))
        const slow = Stream.tap(files.read("slow", { idleTimeout: "100 millis" }), () => Effect.sleep("150 millis"))
        assert.lengthOf(yield* bytesOf(slow), 300_000)
      })
    )

    it.effect("aborts the request when its reader stops early, is interrupted, or never reads", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("large", bytes(40_000_000))
        const seen = yield* recording
        const aborted = (count: number) =>
          eventually(seen, (all) => all.length === count && all.every((request) => request.aborted))
        yield* Stream.runDrain(Stream.take(files.read("large"), 1))
        yield* aborted(1)
        const started = yield* Deferred.make<void>()
        const reading = yield* Effect.forkChild(
          Stream.runForEach(files.read("large"), () =>
            Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
          )
        )
        yield* Deferred.await(started)
        yield* Fiber.interrupt(reading)
        yield* aborted(2)
        yield* Effect.scoped(files.open("large"))
        yield* aborted(3)
      })
    )

    it.effect("aborts a request that is not answered within the timeout, or interrupted before", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* misbehave({ kind: "hang", path: "/api/2.0/fs/" })
        const seen = yield* recording
        const timeout = "100 millis"
        const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          Stream.runDrain(files.read("x", { timeout })),
          Effect.scoped(files.open("x", { timeout })),
          files.stat("x", { timeout }),
          files.write("x", bytes(10), { timeout }),
          Stream.runDrain(files.list("", { timeout }))
        ]
        for (const call of calls) {
          assert.strictEqual(yield* failureOf(call), "OperationTimeoutError")
        }
        const fiber = yield* Effect.forkChild(files.remove("x"))
        yield* eventually(seen, ({ length }) => length === 6)
        yield* Fiber.interrupt(fiber)
        yield* eventually(seen, (all) => all.every(({ aborted }) => aborted))
      }).pipe(Effect.scoped)
    )

    it.effect("reads only as fast as its reader", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("fast", bytes(40_000_000))
        let read = 0
        const hold = Latch.makeUnsafe()
        const reading = yield* Effect.forkChild(
          Stream.runForEach(files.read("fast"), (chunk) => {
            read += chunk.length
            return read > 1_000_000 ? hold.await : Effect.void
          })
        )
        yield* eventually(
          () => read,
          (_) => _ > 1_000_000
        )
        const held = read
        for (let trip = 0; trip < 20; trip++) yield* files.exists("fast")
        assert.strictEqual(read, held)
        yield* hold.open
        yield* Fiber.join(reading)
        assert.strictEqual(read, 40_000_000)
      })
    )

    it.effect("retries a refused read before its first byte, and never after it", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("retried", "x")
        for (const status of [429, 503]) {
          yield* misbehave({ kind: "answer", status, headers: { "retry-after": "0" }, path: api, times: 1 })
          assert.strictEqual(yield* textOf(files.read("retried")), "x")
        }
        yield* misbehave({ kind: "drop", path: api, times: 1 })
        assert.strictEqual(yield* textOf(files.read("retried", { retry: { delay: 1 } })), "x")
        yield* files.write("retried too", bytes(size))
        const seen = yield* recording
        yield* misbehave({ kind: "cut", path: api, times: 1 })
        yield* Effect.flip(Stream.runDrain(files.read("retried too", { retry: { delay: 1 } })))
        assert.lengthOf(yield* seen, 1)
      }).pipe(Effect.scoped)
    )
  })

  it.layer(Live)("write", (it) => {
    it.effect("stores bytes, text and streams of a known and an unknown length whole", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        const expected = yield* bytesOf(bytes(size))
        yield* files.write("whole/bytes", new Uint8Array([1, 2, 3]))
        yield* files.write("whole/text", "äöü")
        yield* files.write("whole/empty", Stream.empty)
        yield* files.write("whole/unknown", bytes(size))
        yield* files.write("whole/known", bytes(size), { contentLength: size })
        yield* files.write("whole/copy", files.read("whole/known"))
        const entries = yield* Stream.runCollect(files.list("whole"))
        assert.deepStrictEqual(Object.fromEntries(entries.map((_) => [_.name, _.size])), {
          bytes: 3,
          copy: size,
          empty: 0,
          known: size,
          text: 6,
          unknown: size
        })
        for (const name of ["unknown", "known", "copy"]) {
          assert.isTrue(expected.equals(yield* bytesOf(files.read(`whole/${name}`))), name)
        }
      })
    )

    it.effect("replaces an existing file only with overwrite", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("once", "first")
        for (const content of ["second", bytes(size)]) {
          const error = yield* Effect.flip(files.write("once", content))
          assert.strictEqual(error.message, `The file once exists: choose another name, or overwrite it`)
        }
        assert.strictEqual(yield* textOf(files.read("once")), "first")
        yield* files.write("once", bytes(10), { overwrite: true })
        assert.strictEqual((yield* files.stat("once")).size, 10)
      })
    )

    it.effect("fails with the error of its content, and stores nothing", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        for (const options of [{}, { contentLength: size }]) {
          const torn = Stream.concat(bytes(size / 2), Stream.fail(new Torn()))
          assert.strictEqual(yield* failureOf(files.write("torn", torn, options)), "Torn")
          const died = yield* Effect.exit(files.write("torn", Stream.concat(bytes(9), Stream.die("broken")), options))
          assert.isTrue(Exit.isFailure(died) && Cause.hasDies(died.cause))
        }
        assert.isFalse(yield* files.exists("torn"))
        yield* files.write("torn", "kept")
        yield* Effect.flip(files.write("torn", Stream.concat(bytes(9), Stream.fail(new Torn())), { overwrite: true }))
        assert.strictEqual(yield* textOf(files.read("torn")), "kept")
      })
    )

    it.effect("fails for a content of another length than it says, and stores nothing", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        for (const contentLength of [size - 1, size + 1]) {
          const failure = yield* failureOf(files.write("length", bytes(size), { contentLength }))
          assert.strictEqual(failure, "InvalidRequestError")
        }
        assert.isFalse(yield* files.exists("length"))
      })
    )

    it.effect("stores nothing of a content that fails after its last byte, as one with a wrong digest does", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        // The workspace has the time to store the bytes that it has.
        const checked = Effect.repeat(files.exists("digest"), { until: (exists) => exists, times: 20 })
        const content = Stream.concat(
          bytes(100_000),
          Stream.fromEffect(Effect.andThen(checked, Effect.fail(new Torn())))
        )
        for (const options of [{}, { contentLength: 100_000 }]) {
          assert.strictEqual(yield* failureOf(files.write("digest", content, options)), "Torn")
        }
        assert.isFalse(yield* files.exists("digest"))
      })
    )

    it.effect("leaves a conflict that overwrite cannot solve to the workspace's own words", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* misbehave({ kind: "answer", status: 409, path: api, times: 1 })
        assert.strictEqual(yield* failureOf(files.write("conflict", "x", { overwrite: true })), "InvalidRequestError")
      }).pipe(Effect.scoped)
    )

    it.effect("stores one of many concurrent files of a name whole, and fails for the others without overwrite", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        const write = (index: number) =>
          failureOf(
            files.write(
              "race",
              Stream.map(bytes(300_000), (chunk) => chunk.fill(index))
            )
          )
        const failures = yield* Effect.forEach([1, 2, 3, 4, 5, 6], write, { concurrency: 6 })
        assert.lengthOf(
          failures.filter((failure) => failure === "FileExistsError"),
          5
        )
        const stored = yield* bytesOf(files.read("race"))
        assert.isTrue(stored.equals(Buffer.alloc(300_000, stored[0])))
      })
    )

    it.effect("stores nothing of an upload that is interrupted", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        const seen = yield* recording
        const stuck = Stream.concat(bytes(size), Stream.never)
        const fiber = yield* Effect.forkChild(files.write("interrupted", stuck))
        yield* eventually(seen, ({ length }) => length === 1)
        yield* Fiber.interrupt(fiber)
        yield* eventually(seen, ([request]) => request!.aborted)
        assert.isFalse(yield* files.exists("interrupted"))
      })
    )

    it.effect("reads a content only as fast as the workspace takes it", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* misbehave({ kind: "hang", path: api, method: "PUT", times: 1 })
        let read = 0
        const content = Stream.tap(bytes(100_000_000), (chunk) => Effect.sync(() => void (read += chunk.length)))
        const writing = yield* Effect.forkChild(files.write("slowly", content))
        yield* eventually(() => read > 0)
        for (let before = 0; before !== read;) {
          before = read
          for (let trip = 0; trip < 20; trip++) yield* files.exists("slowly")
        }
        assert.isBelow(read, 50_000_000)
        yield* Fiber.interrupt(writing)
      }).pipe(Effect.scoped)
    )

    it.effect("sends a stream once, and bytes again when the workspace refused them", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        let runs = 0
        const counted = Stream.suspend(() => {
          runs++
          return bytes(10)
        })
        const seen = yield* recording
        const refusals: ReadonlyArray<LocalWorkspace.Misbehaviour> = [
          { kind: "answer", status: 429, headers: { "retry-after": "0" } },
          { kind: "answer", status: 503, headers: { "retry-after": "0" } },
          { kind: "drop" }
        ]
        for (const refusal of refusals) {
          yield* misbehave({ ...refusal, path: api, times: 1 })
          yield* Effect.flip(files.write("sent", counted, { retry: { delay: 1 } }))
        }
        assert.lengthOf(yield* seen, 3)
        assert.isAtMost(runs, 3)
        yield* misbehave({ ...refusals[0]!, path: api, times: 1 })
        yield* files.write("sent", "again")
        assert.lengthOf(yield* seen, 5)
      }).pipe(Effect.scoped)
    )

    it.effect("fails when the workspace answers before it has the whole content", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* misbehave({ kind: "answer", status: 204, path: api, times: 1 })
        const error = yield* Effect.flip(files.write("early", Stream.concat(bytes(size), Stream.never)))
        assert.include(error.message, "answered before the whole file was sent")
      }).pipe(Effect.scoped)
    )

    it.effect("keeps contents and tokens out of its errors", () =>
      Effect.gen(function* () {
        const files = yield* Files.volume(shared)
        yield* files.write("said", "x")
        const error = yield* Effect.flip(files.write("said", "a secret sentence"))
        assert.notMatch(JSON.stringify(error) + String(error), /secret|Bearer/)
      }).pipe(as(alice))
    )
  })
})
