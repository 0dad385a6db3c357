import { assert, layer } from "@effect/vitest"
import { asService, ChatCompletion, ExecutionContext, ModelServing } from "effect-databricks"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, Exit, Fiber, Layer, Queue, Schema, Stream } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { faster } from "./fixtures/clock.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const text = "Größe: 12 ✓ – fünf Zeilen\n\nund 👍"
const overloaded = LocalServing.refuse(429, "The model is overloaded", { retryAfter: 7 })

const turns: Record<string, LocalServing.Turn | LocalServing.Refusal> = {
  says: { text },
  reasons: { reasoning: "Twelve is even.", text: "Yes." },
  calls: {
    toolCalls: [
      { id: "a", name: "sales", arguments: { region: "EMEA", note: "größer" } },
      { id: "b", name: "stock", arguments: "{}" }
    ]
  },
  cut: { text, breaks: { after: 2, with: "cut" } },
  ends: { text, breaks: { after: 2, with: "end" } },
  fails: { text, breaks: { after: 2, with: overloaded } },
  "fails at once": { text, breaks: { with: overloaded } },
  stalls: { text, breaks: { after: 2, with: "stall" } },
  "stalls at once": { text, breaks: { with: "stall" } },
  refuses: LocalServing.refuse(400, "max_tokens is too large", { errorCode: "BAD_REQUEST" }),
  slow: { text, delay: "20 millis" }
}

/** A model whose turn is named by the last message. */
const script = (request: ChatCompletion.Request) => turns[ChatCompletion.textOf(request.messages.at(-1)!)]!
const chat = LocalServing.chat(script, { servedModels: ["a", "b"] })
const bytewise = LocalServing.chat(script, { bytesPerWrite: 1 })
const who = LocalServing.endpoint((_, { user }) => Stream.fromIterable([{ user }, { user }]))
const json = LocalServing.endpoint(() => ({ predictions: [] }))
const odd = LocalServing.endpoint(() => Stream.fromIterable([{ n: 1 }, { n: "two" }, { n: 3 }]))
const endless = LocalServing.endpoint(() =>
  Stream.map(Stream.range(1, Infinity), (n) => ({ n, pad: "x".repeat(1000) }))
)

/** Runs on a clock on which 5 minutes are 300 milliseconds. */
const hurried = faster(1_000)

const Live = ModelServing.layer.pipe(Layer.provideMerge(serviceContext()))

const asked = (content: string) => ({ messages: [{ role: "user", content }] })

const chunks = (content: string, options?: ModelServing.StreamOptions, name = "chat") =>
  ModelServing.endpoint(name).stream(ChatCompletion.Chunk, options)(asked(content))

const textOf = (all: ReadonlyArray<ChatCompletion.Chunk>) =>
  all.flatMap(({ choices }) => choices.map(({ delta }) => ChatCompletion.textOf(delta))).join("")

/** The text that arrived, and the error after it. */
const broken = <A extends ChatCompletion.Chunk, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.gen(function* () {
    const seen: Array<A> = []
    const error = yield* Effect.flip(Stream.runForEach(stream, (chunk) => Effect.sync(() => seen.push(chunk))))
    return { error, text: textOf(seen), count: seen.length }
  })

const requestsTo = (name: string) =>
  LocalWorkspace.LocalWorkspace.use(({ requests }) =>
    Effect.map(requests, (all) => all.filter(({ path }) => path === `/serving-endpoints/${name}/invocations`))
  )

layer(LocalWorkspace.layer({ serving: { chat, bytewise, who, json, odd, endless } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("ModelServing", (it) => {
  it.layer(Live)("endpoint(…).stream", (it) => {
    it.effect("delivers the chunks to the last one, with finish reason and usage", () =>
      Effect.gen(function* () {
        for (const name of ["chat", "bytewise"]) {
          const all = yield* Stream.runCollect(chunks("says", {}, name))
          assert.strictEqual(textOf(all), text, name)
          assert.strictEqual(all.at(-2)!.choices[0]!.finish_reason, "stop")
          assert.isAbove(all.at(-1)!.usage!.total_tokens!, 0)
        }
        assert.deepStrictEqual((yield* chat.calls).at(-1)!.body, { ...asked("says"), stream: true })
        const served = ModelServing.endpoint("chat", { servedModel: "b" }).stream(ChatCompletion.Chunk)
        yield* Stream.runDrain(served({ ...asked("says"), stream: false, name: "who" }))
        const { body, servedModel } = (yield* chat.calls).at(-1)!
        assert.deepStrictEqual([body, servedModel], [{ ...asked("says"), stream: true, name: "who" }, "b"])
      })
    )

    it.effect("delivers reasoning apart from text, and parallel tool calls by index", () =>
      Effect.gen(function* () {
        assert.strictEqual(textOf(yield* Stream.runCollect(chunks("reasons"))), "Yes.")
        const all = yield* Stream.runCollect(chunks("calls"))
        const calls: Array<{ id?: string; name?: string; text: string }> = []
        for (const delta of all.flatMap(({ choices }) => choices.flatMap((_) => _.delta.tool_calls ?? []))) {
          const call = (calls[delta.index!] ??= { text: "" })
          if (delta.id) call.id = delta.id
          if (delta.function?.name) call.name = delta.function.name
          call.text += delta.function?.arguments ?? ""
        }
        assert.deepStrictEqual(calls, [
          { id: "a", name: "sales", text: '{"region":"EMEA","note":"größer"}' },
          { id: "b", name: "stock", text: "{}" }
        ])
      })
    )

    it.effect("reuses the connection after the end, and the workspace sees no abort", () =>
      Effect.gen(function* () {
        const { connections } = yield* LocalWorkspace.LocalWorkspace
        const before = (yield* requestsTo("chat")).length
        yield* Stream.runDrain(chunks("says"))
        const open = yield* connections
        for (let run = 0; run < 10; run++) yield* Stream.runDrain(chunks("says"))
        assert.strictEqual(yield* connections, open)
        for (const { aborted } of (yield* requestsTo("chat")).slice(before)) assert.isFalse(aborted)
      })
    )

    it.effect("fails after a cut, and after an end without [DONE], and sends nothing again", () =>
      Effect.gen(function* () {
        for (const [content, said] of [
          ["cut", "the connection was lost"],
          ["ends", "it ended without [DONE]"]
        ] as const) {
          for (const name of ["chat", "bytewise"]) {
            const before = (yield* requestsTo(name)).length
            const { count, error } = yield* broken(chunks(content, { retry: { attempts: 3, delay: 1 } }, name))
            assert.include(error, { _tag: "ModelStreamError", kind: "cut", endpoint: name, chunks: count } as object)
            assert.include(error.message, said)
            // A connection that is lost takes along what was not read yet.
            assert.isTrue(content === "cut" ? count <= 2 : count === 2)
            assert.lengthOf(yield* requestsTo(name), before + 1, "it was not sent again")
          }
        }
      })
    )

    it.effect("fails with the endpoint's error inside the stream: its status and message", () =>
      Effect.gen(function* () {
        for (const [content, count] of [
          ["fails", 2],
          ["fails at once", 0]
        ] as const) {
          const seen = yield* broken(chunks(content))
          assert.strictEqual(seen.count, count)
          assert.include(seen.error, {
            _tag: "ModelStreamError",
            kind: "failed",
            chunks: count,
            status: 429,
            isRetryable: false
          } as object)
          assert.deepStrictEqual((seen.error as ModelServing.ModelStreamError).retryAfter, Duration.seconds(7))
          assert.include(seen.error.message, "The model is overloaded")
        }
      })
    )

    it.effect("fails with a chunk that does not match its Schema, after the ones before it", () =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const stream = ModelServing.endpoint("odd").stream(Schema.Struct({ n: Schema.Number }))({})
        const error = yield* Effect.flip(Stream.runForEach(stream, ({ n }) => Effect.sync(() => seen.push(n))))
        assert.include(error, { kind: "invalid", chunks: 1 } as object)
        assert.include(error.message, '"n": the value is text and not a number')
        assert.deepStrictEqual(seen, [1])
      })
    )

    it.effect("fails with the workspace's status before the stream begins, and retries a 429", () =>
      Effect.gen(function* () {
        const { error } = yield* broken(chunks("refuses"))
        assert.include(error, { _tag: "DatabricksError", status: 400 } as object)
        const limited = (times: number) =>
          LocalWorkspace.LocalWorkspace.use((_) =>
            _.misbehave({
              kind: "answer",
              status: 429,
              headers: { "retry-after": "0" },
              path: "/serving-endpoints/chat",
              times
            })
          )
        yield* limited(1)
        assert.strictEqual(textOf(yield* Stream.runCollect(chunks("says"))), text)
        yield* limited(1)
        const once = yield* broken(chunks("says", { retry: false }))
        assert.include(once.error, { _tag: "DatabricksError", status: 429 } as object)
        assert.isDefined((once.error as { readonly retryAfter?: unknown }).retryAfter)
      })
    )

    it.effect("fails if the response is not an event stream", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Stream.runDrain(ModelServing.endpoint("json").stream(Schema.Unknown)({})))
        assert.include(error.message, "application/json in place of an event stream")
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        yield* misbehave({ kind: "stall", path: "/serving-endpoints/json" })
        const stalled = yield* Effect.flip(Stream.runDrain(ModelServing.endpoint("json").stream(Schema.Unknown)({})))
        assert.include(stalled.message, "application/json in place of an event stream")
        yield* eventually(requestsTo("json"), (all) => all.at(-1)!.aborted)
      }).pipe(Effect.scoped)
    )

    it.effect("fails if the first chunk, or the next one, does not come in time, and aborts the request", () =>
      Effect.gen(function* () {
        const first = yield* broken(chunks("stalls at once", { timeout: "200 millis", idleTimeout: "1 hour" }))
        assert.include(first.error, { _tag: "OperationTimeoutError", operation: "serving.stream" } as object)
        assert.include(first.error.message, 'no first chunk within 200ms from the serving endpoint "chat"')
        const next = yield* broken(chunks("stalls", { timeout: "1 hour", idleTimeout: "200 millis" }))
        assert.include(next.error.message, "no further chunk within 200ms")
        assert.strictEqual(next.count, 2)
        yield* eventually(requestsTo("chat"), (all) => all.slice(-2).every(({ aborted }) => aborted))
        yield* LocalWorkspace.LocalWorkspace.use((_) => _.misbehave({ kind: "hang", path: "/serving-endpoints/who" }))
        const head = yield* Effect.flip(
          Stream.runDrain(ModelServing.endpoint("who").stream(Schema.Unknown, { timeout: "200 millis" })({}))
        )
        assert.include(head.message, "no first chunk within 200ms")
        yield* eventually(requestsTo("who"), (all) => all.at(-1)!.aborted)
        // Neither is a limit of the whole stream, and a slow reader is not the endpoint's fault.
        const slow = chunks("slow", { timeout: "5 seconds", idleTimeout: "5 seconds" })
        assert.strictEqual(textOf(yield* Stream.runCollect(slow)), text)
        const read = Stream.tap(chunks("says", { idleTimeout: "100 millis" }), () => Effect.sleep("30 millis"))
        assert.strictEqual(textOf(yield* Stream.runCollect(read)), text)
      }).pipe(Effect.scoped)
    )

    it.effect("fails by default if no first or no further chunk comes for 5 minutes", () =>
      Effect.gen(function* () {
        for (const [content, said] of [
          ["stalls at once", "no first chunk within 5m"],
          ["stalls", "no further chunk within 5m"]
        ] as const) {
          const { error } = yield* hurried(broken(chunks(content)))
          assert.include(error.message, said)
        }
      })
    )

    it.effect("aborts the request when its reader is interrupted, or has enough", () =>
      Effect.gen(function* () {
        const began = yield* Queue.unbounded<void>()
        const fiber = yield* Effect.forkChild(Stream.runForEach(chunks("stalls"), () => Queue.offer(began, undefined)))
        yield* Queue.take(began)
        const before = (yield* requestsTo("chat")).length
        yield* Fiber.interrupt(fiber)
        yield* eventually(requestsTo("chat"), (all) => all[before - 1]!.aborted)
        const Numbered = Schema.Struct({ n: Schema.Number })
        const taken = Stream.take(ModelServing.endpoint("endless").stream(Numbered)({}), 3)
        assert.lengthOf(yield* Stream.runCollect(taken), 3)
        yield* eventually(requestsTo("endless"), ([only]) => only?.aborted === true)
      })
    )

    it.effect("runs as the caller that opens it, in one span to its end", () =>
      Effect.gen(function* () {
        const Who = Schema.Struct({ user: Schema.String })
        const stream = ModelServing.endpoint("who").stream(Who)({})
        const mine = Stream.unwrap(Effect.map(ModelServing.user, ({ endpoint }) => endpoint("who").stream(Who)({})))
        for (const user of [alice, bob]) {
          for (const one of [stream, mine]) {
            const { exit, spans } = yield* spansOf(as(user)(Stream.runCollect(one as typeof mine)))
            assert.deepStrictEqual(exit, Exit.succeed([{ user }, { user }]))
            const operation = spans.find(({ name }) => name === "plugin.execute")!
            assert.include(operation.attributes, { "operation.name": "serving.stream", "serving.chunks": 2 })
            assert.isDefined(operation.exit)
          }
        }
        const taken = yield* as(alice)(ModelServing.user)
        const before = (yield* requestsTo("who")).length
        const kept = Stream.runDrain(taken.endpoint("who").stream(Who)({}))
        for (const exit of [yield* Effect.exit(as(bob)(kept)), yield* Effect.exit(kept)]) {
          assert.isTrue(Exit.hasDies(exit))
        }
        assert.lengthOf(yield* requestsTo("who"), before)
        const inService = yield* as(alice)(asService(Stream.runCollect(mine)))
        assert.deepStrictEqual(inService, [{ user: alice }, { user: alice }])
        const both = yield* Effect.all([as(alice)(ExecutionContext.current), as(bob)(ExecutionContext.current)])
        assert.notStrictEqual(both[0].id, both[1].id)
      })
    )
  })
})
