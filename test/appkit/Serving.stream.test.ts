import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import * as Serving from "effect-databricks/appkit/Serving"
import * as ResumableStreams from "effect-databricks/http/ResumableStreams"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { type Cause, Effect, Fiber, Layer, Option, Queue, Stream } from "effect"
import { post } from "../fixtures/connectSse.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { misbehave, recording } from "../fixtures/sqlWarehouse.ts"
import { serve, Served } from "../http/harness.ts"

/** A number as it is written, which a JavaScript number would change. */
const raw = (text: string) => (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON(text)

/** What the model says, by the field `prompt` of the body. */
const scripts = new Map<string, Stream.Stream<unknown>>()
const model = LocalServing.endpoint((body) => scripts.get((body as { prompt: string }).prompt))

const broken = (breaks: LocalServing.Turn["breaks"] & object) =>
  LocalServing.chat(() => ({ text: "0123456789", breaks }))
const breaking = {
  cut: broken({ after: 1, with: "cut" }),
  ends: broken({ after: 1, with: "end" }),
  fails: broken({ after: 1, with: LocalServing.refuse(429, "secret") }),
  stalls: broken({ after: 1, with: "stall" })
}

const Routes = Serving.layer({
  endpoints: {
    llm: "model",
    other: "model",
    cut: "cut",
    ends: "ends",
    fails: "fails",
    stalls: { endpoint: "stalls", idleTimeout: "50 millis" }
  }
})

const AppOf = <E>(streams: Layer.Layer<ResumableStreams.ResumableStreams, E>) =>
  serve(Routes, { services: Layer.mergeAll(ModelServing.layer, streams) }).pipe(Layer.provideMerge(ClientConfig.layer))

const stream = Effect.fnUntraced(function* (user: string, alias: string, prompt: string, lastId?: string) {
  const headers = yield* requestOf(user)
  const { port } = yield* Served
  const body = JSON.stringify({ prompt, messages: [{ role: "user", content: "?" }] })
  return yield* post(port, `/api/serving/${alias}/stream`, { headers, body, lastId })
})

/** A model that says what the test offers to the queue. */
const speaking = Effect.fnUntraced(function* (prompt: string) {
  const queue = yield* Queue.unbounded<unknown, Cause.Done>()
  scripts.set(prompt, Stream.fromQueue(queue))
  return {
    says: (...chunks: ReadonlyArray<number>) =>
      Queue.offerAll(
        queue,
        chunks.map((n) => ({ n }))
      ),
    ends: Queue.end(queue)
  }
})

const numbers = (data: ReadonlyArray<string>) => data.map((text) => JSON.parse(text).n)

const invocations = /^\/serving-endpoints\//

layer(LocalWorkspace.layer({ serving: { model, ...breaking } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("appkit/Serving.layer", (it) => {
  it.layer(AppOf(ResumableStreams.layer))("stream", (it) => {
    it.effect("sends each chunk as it came, to the user who asked, and ends after the last", () =>
      Effect.gen(function* () {
        scripts.set("digits", Stream.make({ n: raw("9007199254740993"), x: raw("0.10") }, { type: "a\n\nb" }, [1]))
        for (const user of [alice, bob]) {
          const client = yield* stream(user, "llm", "digits")
          assert.strictEqual(client.status, 200)
          assert.strictEqual(client.headers["content-type"], "text/event-stream")
          assert.strictEqual(yield* client.end, "ended")
          assert.deepStrictEqual(client.data(), ['{"n":9007199254740993,"x":0.10}', '{"type":"a\\n\\nb"}', "[1]"])
          const { text, user: caller } = (yield* model.calls).at(-1)!
          assert.strictEqual(caller, user)
          assert.strictEqual(text, '{"prompt":"digits","messages":[{"role":"user","content":"?"}],"stream":true}')
        }
      })
    )

    it.effect(
      "cuts the connection of a stream that breaks or stalls, and calls no model for the repeated requests",
      () =>
        Effect.gen(function* () {
          for (const alias of ["cut", "ends", "fails", "stalls"] as const) {
            const first = yield* stream(alice, alias, "?")
            assert.strictEqual(first.status, 200)
            assert.strictEqual(yield* first.end, "cut", alias)
            assert.notInclude(first.text(), "secret")
            for (let attempt = 0; attempt < 2; attempt++) {
              // It breaks at once, perhaps before its head has left.
              const again = yield* Effect.option(stream(alice, alias, "?", first.lastId()))
              if (Option.isNone(again)) continue
              assert.strictEqual(yield* again.value.end, "cut", alias)
              // What had not left when the connection broke comes now.
              assert.isAtMost(first.data().length + again.value.data().length, 1)
            }
            assert.lengthOf(yield* breaking[alias].calls, 1, alias)
          }
        })
    )

    it.effect(
      "goes on after a cut before the first chunk, in the middle and after the last, with one call of the model",
      () =>
        Effect.gen(function* () {
          const { ends, says } = yield* speaking("three cuts")
          const before = (yield* model.calls).length
          const ask = (lastId?: string) => stream(alice, "llm", "three cuts", lastId)

          const first = yield* ask()
          yield* eventually(first.lastId)
          yield* first.cut
          const second = yield* ask(first.lastId())
          yield* says(1, 2)
          yield* second.receives(2)
          yield* second.cut
          yield* says(3)
          const third = yield* ask(second.lastId())
          yield* says(4)
          yield* third.receives(2)
          yield* third.cut
          yield* ends
          const last = yield* ask(third.lastId())
          assert.strictEqual(yield* last.end, "ended")

          assert.deepStrictEqual(numbers(first.data()), [])
          assert.deepStrictEqual(numbers(second.data()), [1, 2])
          assert.deepStrictEqual(numbers(third.data()), [3, 4])
          assert.deepStrictEqual(numbers(last.data()), [])
          assert.lengthOf(yield* model.calls, before + 1)
        })
    )

    it.effect("continues a stream only for its user and its alias, and calls no model for others", () =>
      Effect.gen(function* () {
        const { ends, says } = yield* speaking("hers")
        const hers = yield* stream(alice, "llm", "hers")
        yield* says(1)
        yield* hers.receives(1)
        const before = (yield* model.calls).length
        for (const [user, alias] of [
          [bob, "llm"],
          [alice, "other"]
        ] as const) {
          const theirs = yield* stream(user, alias, "hers", hers.lastId())
          assert.strictEqual(theirs.status, 409)
          yield* theirs.end
          assert.notInclude(theirs.text(), '"n"')
        }
        yield* ends
        assert.strictEqual(yield* hers.end, "ended")
        assert.lengthOf(yield* model.calls, before)
      })
    )

    it.effect("aborts the call of the model if the client leaves before the model has accepted it", () =>
      Effect.gen(function* () {
        yield* misbehave({ kind: "hang", path: "/serving-endpoints/model", times: 1 })
        const seen = yield* recording
        const fiber = yield* Effect.forkChild(stream(alice, "llm", "nothing"))
        yield* eventually(seen("POST", invocations), (all) => all.length > 0)
        yield* Fiber.interrupt(fiber)
        yield* eventually(seen("POST", invocations), ([first]) => first?.aborted === true)
      })
    )
  })

  it.layer(AppOf(ResumableStreams.layerWith({ grace: "30 millis" })))("stream after the grace period", (it) => {
    it.effect("has aborted the call of the model, and answers 409 without another call", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { says } = yield* speaking("gone")
        const client = yield* stream(alice, "llm", "gone")
        yield* says(1)
        yield* client.receives(1)
        yield* client.cut
        yield* eventually(seen("POST", invocations), ([first]) => first?.aborted === true)
        const again = yield* stream(alice, "llm", "gone", client.lastId())
        assert.strictEqual(again.status, 409)
        assert.lengthOf(yield* seen("POST", invocations), 1)
      })
    )
  })
})
