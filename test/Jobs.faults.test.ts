import { assert, layer } from "@effect/vitest"
import { Jobs, Operation } from "effect-databricks"
import { type LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { counting } from "./fixtures/clock.ts"
import { eventually } from "./fixtures/eventually.ts"
import {
  cancel,
  gated,
  get,
  hurried,
  ids,
  list,
  Live,
  misbehave,
  open,
  output,
  reasonOf,
  recording,
  run,
  runsOf
} from "./fixtures/jobs.ts"

const html = { headers: { "content-type": "text/html" }, body: "<!DOCTYPE html><title>Sign in</title>" }

/** What befalls a request for a moment, before it is carried out or after. */
const passing: Record<string, LocalWorkspace.Misbehaviour> = {
  "429": { kind: "answer", status: 429, headers: { "retry-after": "1" } },
  "503": { kind: "answer", status: 503 },
  "500": { kind: "answer", status: 500 },
  "502 of HTML": { kind: "answer", status: 502, ...html },
  "200 of HTML": { kind: "answer", status: 200, ...html },
  "a lost connection": { kind: "drop" },
  "a lost answer": { kind: "drop", when: "after" },
  "half an answer": { kind: "truncate" }
}

const tokensOf = (requests: ReadonlyArray<LocalWorkspace.RecordedRequest>) =>
  requests.map(({ body }) => JSON.parse(body!).idempotency_token)

const cancelledOrNot = (runId: string) =>
  Effect.map(
    Effect.flatMap(Jobs.Jobs, (jobs) => jobs.get(runId)),
    ({ state }) => state.resultState ?? state.lifeCycleState
  )

layer(Live)("Jobs, when the workspace misbehaves,", (it) => {
  it.effect.each(Object.entries(passing))("starts one run in spite of %s", ([, fault]) =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const before = (yield* runsOf(ids.etl)).length
      const seen = yield* recording
      yield* misbehave({ ...fault, path: run, times: 2 })
      const runId = yield* hurried(jobs.run(ids.etl))
      const runs = yield* runsOf(ids.etl)
      assert.strictEqual(runs.length, before + 1)
      assert.strictEqual(runs[0]!.runId, runId)
      const tokens = tokensOf(yield* seen(run))
      assert.lengthOf(tokens, 3)
      assert.deepStrictEqual(new Set(tokens).size, 1)
    })
  )

  it.effect("sends a start once with retry: false, and as often as retry says, with one key", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const started = (options: Jobs.RunOptions) => jobs.run(ids.echo, options)
      const ended = (options: Jobs.RunOptions) => Effect.asVoid(jobs.runAndWait(ids.echo, options))
      for (const start of [started, ended]) {
        for (const [retry, sent] of [
          [false, 1],
          [{ attempts: 5 }, 5]
        ] as const) {
          const seen = yield* recording
          yield* misbehave({ kind: "drop", path: run, times: sent })
          assert.strictEqual((yield* reasonOf(hurried(Effect.asVoid(start({ retry })))))._tag, "ConnectionError")
          const tokens = tokensOf(yield* seen(run))
          assert.lengthOf(tokens, sent)
          assert.strictEqual(new Set(tokens).size, 1)
        }
      }
    })
  )

  it.effect("makes a new key for each execution of the same effect", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const start = jobs.run(ids.echo)
      assert.notStrictEqual(yield* start, yield* start)
    })
  )

  it.effect("accepts a key of 64 characters, and refuses a longer or an empty one without a request", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const key = "k".repeat(64)
      assert.strictEqual(yield* jobs.run(ids.echo, { key }), yield* jobs.run(ids.echo, { key }))
      const seen = yield* recording
      for (const wrong of ["", `${key}k`]) {
        const reason = yield* reasonOf(jobs.run(ids.echo, { key: wrong }))
        assert.strictEqual(reason._tag, "InvalidRequestError")
        assert.include(reason.message, `${wrong.length} characters`)
      }
      assert.lengthOf(yield* seen(run), 0)
    })
  )

  it.effect.each(Object.entries(passing))("watches a run to its end in spite of %s at each second poll", ([, fault]) =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      let polls = 0
      yield* misbehave({ ...fault, path: (path) => path === get && polls++ % 2 === 0, times: 4 })
      const runId = yield* jobs.run(ids.etl)
      const last = yield* hurried(Stream.runCollect(jobs.watch(runId)))
      assert.strictEqual(last.at(-1)!.state.resultState, "SUCCESS")
    })
  )

  it.effect("retries each page and each output as `retry` says", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const { runId } = yield* hurried(jobs.runAndWait(ids.etl))
      yield* misbehave({ kind: "answer", status: 500, path: list, times: 1 })
      assert.strictEqual((yield* reasonOf(Stream.runDrain(jobs.list())))._tag, "WorkspaceFailedError")
      yield* misbehave({ kind: "drop", path: list, times: 1 })
      assert.isAbove((yield* hurried(Stream.runCollect(jobs.list({ retry: {} })))).length, 0)
      yield* misbehave({ kind: "drop", path: output, times: 2 })
      assert.lengthOf(yield* hurried(Stream.runCollect(jobs.output(runId, { retry: {} }))), 3)
      yield* misbehave({ kind: "hang", path: output, times: 1 })
      const late = yield* Effect.forkChild(Effect.flip(Stream.runDrain(jobs.output(runId, { timeout: "3 seconds" }))))
      const seen = yield* recording
      yield* eventually(Effect.map(seen(output), (_) => _.length === 1))
      yield* TestClock.adjust("3 seconds")
      assert.instanceOf(yield* Fiber.join(late), Operation.OperationTimeoutError)
      yield* eventually(Effect.map(seen(output), ([request]) => request!.aborted))
    })
  )
})

layer(Live)("Jobs, when its caller leaves,", (it) => {
  /** Starts the gated job, and interrupts once it was polled. */
  const interrupted = (gate: string, options: Jobs.RunAndWaitOptions) =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const fiber = yield* Effect.forkChild(jobs.runAndWait(gated.with({ gate }), options))
      yield* eventually(Effect.map(seen(get), (_) => _.length === 1))
      yield* Fiber.interrupt(fiber)
      return { runId: (yield* runsOf(ids.gated))[0]!.runId, seen }
    })

  it.effect("stops polling, and leaves the run running", () =>
    Effect.gen(function* () {
      const { runId, seen } = yield* interrupted("left", {})
      yield* TestClock.adjust("10 minutes")
      assert.lengthOf(yield* seen(get), 1)
      assert.lengthOf(yield* seen(cancel), 0)
      assert.strictEqual(yield* cancelledOrNot(runId), "RUNNING")
      yield* open("left")
    })
  )

  it.effect("cancels the run with cancelOnInterrupt", () =>
    Effect.gen(function* () {
      const { runId, seen } = yield* interrupted("cancelled", { cancelOnInterrupt: true })
      assert.lengthOf(yield* seen(cancel), 1)
      yield* eventually(Effect.map(cancelledOrNot(runId), (_) => _ === "CANCELED"))
    })
  )

  it.effect("aborts the poll on the wire", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      yield* misbehave({ kind: "hang", path: get, times: 1 })
      const fiber = yield* Effect.forkChild(Stream.runDrain(jobs.watch(yield* jobs.run(ids.endless))))
      yield* eventually(Effect.map(seen(get), (_) => _.length === 1))
      yield* Fiber.interrupt(fiber)
      yield* eventually(Effect.map(seen(get), ([poll]) => poll!.aborted))
    })
  )

  it.effect("fails with OperationTimeoutError after its timeout, and cancels the run only if asked", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      for (const cancelOnInterrupt of [false, true]) {
        const seen = yield* recording
        const fiber = yield* Effect.forkChild(
          Effect.flip(jobs.runAndWait(ids.endless, { timeout: "1 minute", cancelOnInterrupt }))
        )
        yield* eventually(Effect.map(seen(get), (_) => _.length === 1))
        for (let seconds = 0; seconds < 60; seconds++) yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(fiber)
        assert.instanceOf(error, Operation.OperationTimeoutError)
        assert.include(error.message, "jobs.runAndWait took longer than 1m")
        assert.lengthOf(yield* seen(cancel), cancelOnInterrupt ? 1 : 0)
      }
    })
  )

  it.effect("cancels a run whose start was not answered yet, with cancelOnInterrupt", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      yield* misbehave({ kind: "delay", duration: "2 seconds", path: run, times: 1 })
      const fiber = yield* Effect.forkChild(jobs.runAndWait(ids.endless, { cancelOnInterrupt: true }))
      yield* eventually(Effect.map(seen(run), (_) => _.length === 1))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* Effect.yieldNow
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(interrupting)
      assert.lengthOf(yield* seen(cancel), 1)
      assert.lengthOf(yield* seen(run), 1)
    })
  )

  it.effect("waits 5 seconds for that answer, and no longer", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      yield* misbehave({ kind: "hang", path: run, times: 1 })
      const fiber = yield* Effect.forkChild(jobs.runAndWait(ids.endless, { cancelOnInterrupt: true }))
      yield* eventually(Effect.map(seen(run), (_) => _.length === 1))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* Effect.yieldNow
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(interrupting)
      yield* eventually(Effect.map(seen(run), ([start]) => start!.aborted))
    })
  )

  it.effect("cancels a run whose watching fails, with cancelOnInterrupt", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const runId = yield* jobs.run(ids.endless)
      for (const cancelOnInterrupt of [false, true]) {
        yield* misbehave({ kind: "answer", status: 403, path: get, times: 1 })
        const reason = yield* reasonOf(Stream.runDrain(jobs.watch(runId, { cancelOnInterrupt })))
        assert.strictEqual(reason._tag, "PermissionDeniedError")
        assert.lengthOf(yield* seen(cancel), cancelOnInterrupt ? 1 : 0)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("cancels a watched run if the stream ends early, with cancelOnInterrupt, and not one that has ended", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const runId = yield* jobs.run(ids.endless)
      const first = yield* Stream.runHead(jobs.watch(runId, { cancelOnInterrupt: true }))
      assert.strictEqual(first._tag, "Some")
      assert.lengthOf(yield* seen(cancel), 1)
      yield* eventually(Effect.map(cancelledOrNot(runId), (_) => _ === "CANCELED"))
      yield* Stream.runDrain(jobs.watch(runId, { cancelOnInterrupt: true }))
      assert.lengthOf(yield* seen(cancel), 1)
    })
  )
})

layer(Live)("Jobs, between two polls,", (it) => {
  it.effect("waits at least 100 milliseconds, give or take 20 %, whatever delay says", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const waits = { asleep: 0 }
      const watching = Stream.runDrain(jobs.watch(yield* jobs.run(ids.endless), { delay: 0, maxDelay: 0 }))
      const fiber = yield* Effect.forkChild(counting(waits)(watching))
      yield* eventually(() => waits.asleep === 1)
      yield* TestClock.adjust(79)
      assert.lengthOf(yield* seen(get), 1)
      yield* TestClock.adjust(42)
      yield* eventually(Effect.map(seen(get), (_) => _.length === 2))
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect("waits 1 second, then half as much again each time, up to 15 seconds, give or take 20 %", () =>
    Effect.gen(function* () {
      const jobs = yield* Jobs.Jobs
      const seen = yield* recording
      const runId = yield* jobs.run(gated.with({ gate: "backoff" }))
      const waits = { asleep: 0 }
      const fiber = yield* Effect.forkChild(counting(waits)(Stream.runDrain(jobs.watch(runId))))
      const polls = (count: number) => eventually(Effect.map(seen(get), (_) => _.length === count))
      yield* polls(1)
      yield* eventually(() => waits.asleep === 1)
      for (let count = 1, delay = 1_000; count < 12; count++, delay = Math.min(delay * 1.5, 15_000)) {
        yield* TestClock.adjust(Math.floor(delay * 0.79))
        assert.lengthOf(yield* seen(get), count)
        yield* TestClock.adjust(Math.ceil(delay * 0.42))
        yield* polls(count + 1)
        // The poll's answer has to arrive, and the next wait to begin, before the clock goes on.
        yield* eventually(() => waits.asleep === 1)
      }
      yield* open("backoff")
      for (let seconds = 0; seconds < 18; seconds++) yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
    })
  )
})
