import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Cause, Effect, Exit, Layer, Schema, Stream } from "effect"
import { AiError, Chat, LanguageModel, type Response, Tool, Toolkit } from "effect/ai"
import { serviceContext } from "../fixtures/workspace.ts"

const Run = Tool.make("run", {
  parameters: Schema.Struct({ id: Schema.String, note: Schema.optionalKey(Schema.String) }),
  success: Schema.String,
  failure: Schema.String,
  failureMode: "return"
})
const Strict = Tool.make("strict", {
  parameters: Schema.Struct({ id: Schema.String, note: Schema.optionalKey(Schema.String) }),
  success: Schema.String
}).annotate(Tool.Strict, true)

const Handlers = Toolkit.make(Run, Strict).toLayer({
  run: ({ id, note }) =>
    id === "fails"
      ? Effect.fail("no such run")
      : id === "dies"
        ? Effect.die(new Error("A defect"))
        : Effect.succeed(`${id} ${note ?? "without"}`),
  strict: ({ id, note }) => Effect.succeed(`${id} ${note ?? "without"}`)
})

const calls = LocalServing.chat((request) => JSON.parse(String(request.messages[0]!.content)) as LocalServing.Turn)
const chunks = LocalServing.endpoint((body) => {
  const { messages } = body as { readonly messages: ReadonlyArray<{ readonly content: string }> }
  return Stream.fromIterable(JSON.parse(messages[0]!.content) as ReadonlyArray<unknown>)
})
const whole = LocalServing.endpoint((body) => {
  const { messages } = body as { readonly messages: ReadonlyArray<{ readonly content: string }> }
  return JSON.parse(messages[0]!.content) as unknown
})
const wholeCall = (more: object) => ({
  tool_calls: [{ function: { name: "run", arguments: '{"id":"1"}' }, ...more }]
})
const signed = LocalServing.endpoint(() => ({
  choices: [
    {
      index: 0,
      message: {
        tool_calls: [
          { id: "", type: "function", thoughtSignature: "c2ln", function: { name: "run", arguments: '{"id":"1"}' } }
        ]
      },
      finish_reason: "stop"
    }
  ]
}))

const Live = Layer.merge(Handlers, ModelServing.layer).pipe(Layer.provideMerge(serviceContext()))

const resultsOf = (parts: ReadonlyArray<Response.AnyPart>) =>
  parts
    .flatMap((part) => (part.type === "tool-result" ? [part] : []))
    .toSorted((a, b) => a.id.localeCompare(b.id))
    .map(({ result }) => result as unknown)

layer(LocalWorkspace.layer({ serving: { calls, chunks, signed, whole } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("The tools of ai/LanguageModel", (it) => {
  it.layer(Layer.provideMerge(DatabricksLanguageModel.model("calls"), Live))("a call", (it) => {
    const asked = (turn: LocalServing.Turn) =>
      LanguageModel.generateText({ prompt: JSON.stringify(turn), toolkit: Toolkit.make(Run, Strict) })
    const streamed = (turn: LocalServing.Turn) =>
      Stream.runCollect(LanguageModel.streamText({ prompt: JSON.stringify(turn), toolkit: Toolkit.make(Run, Strict) }))
    const failing = (result: unknown) => (AiError.isAiError(result) ? result.reason._tag : result)

    it.effect("keeps integers beyond 2^53 exact: as text, or refused, never rounded", () =>
      Effect.gen(function* () {
        const turn = { toolCalls: [{ name: "run", arguments: '{"id":1121234567890123457}' }] }
        for (const parts of [(yield* asked(turn)).content, yield* streamed(turn)]) {
          assert.deepStrictEqual(resultsOf(parts), ["1121234567890123457 without"])
        }
      })
    )

    it.effect("with arguments that are no JSON, or poisoned, is answered by the tool's failureMode", () =>
      Effect.gen(function* () {
        for (const given of ['{"id": ', '{"id":"1","__proto__":{"x":1}}', '"text"']) {
          const turn = { toolCalls: [{ name: "run", arguments: given }] }
          for (const parts of [(yield* asked(turn)).content, yield* streamed(turn)]) {
            assert.deepStrictEqual(resultsOf(parts).map(failing), ["ToolParameterValidationError"], given)
          }
        }
      })
    )

    it.effect("of a strict tool may have null for an optional parameter", () =>
      Effect.gen(function* () {
        const turn = { toolCalls: [{ name: "strict", arguments: { id: "1", note: null } }] }
        assert.deepStrictEqual(resultsOf((yield* asked(turn)).content), ["1 without"])
        assert.deepStrictEqual(resultsOf(yield* streamed(turn)), ["1 without"])
      })
    )

    it.effect("of a tool that the request does not name fails with ToolNotFoundError", () =>
      Effect.gen(function* () {
        const turn = { toolCalls: [{ name: "drop", arguments: {} }] }
        const whole = yield* Effect.flip(asked(turn))
        const stream = yield* Effect.flip(streamed(turn))
        for (const error of [whole, stream]) {
          assert.deepInclude(error.reason, {
            _tag: "ToolNotFoundError",
            toolName: "drop",
            availableTools: ["run", "strict"]
          })
        }
        const { toolCalls } = yield* LanguageModel.generateText({
          prompt: JSON.stringify(turn),
          toolkit: Toolkit.make(Run),
          disableToolCallResolution: true,
          toolCallValidation: "deferred"
        })
        assert.deepInclude(toolCalls[0], { name: "drop" })
      })
    )

    it.effect("of a tool that fails is answered, and of one that dies ends the response", () =>
      Effect.gen(function* () {
        const turn = (id: string) => ({ toolCalls: ["1", id].map((id) => ({ name: "run", arguments: { id } })) })
        type Ask = (
          id: string
        ) => Effect.Effect<ReadonlyArray<Response.AnyPart>, unknown, Effect.Services<ReturnType<typeof asked>>>
        const asks: ReadonlyArray<Ask> = [
          (id) => Effect.map(asked(turn(id)), (_) => _.content),
          (id) => streamed(turn(id))
        ]
        for (const ask of asks) {
          assert.deepStrictEqual(resultsOf(yield* ask("fails")).toSorted(), ["1 without", "no such run"])
          const dies = yield* Effect.exit(ask("dies"))
          assert.isTrue(Exit.isFailure(dies) && Cause.hasDies(dies.cause))
        }
      })
    )

    it.effect("runs no tool of a response that the limit of tokens ended, or without a finish reason", () =>
      Effect.gen(function* () {
        const cut = JSON.stringify({
          id: "r",
          choices: [{ index: 0, message: wholeCall({ id: "a" }), finish_reason: null }]
        })
        const { content } = yield* Effect.provide(
          LanguageModel.generateText({ prompt: cut, toolkit: Toolkit.make(Run) }),
          DatabricksLanguageModel.model("whole")
        )
        assert.deepInclude(resultsOf(content)[0], { type: "execution-interrupted" })
        const turn = { toolCalls: [{ name: "run", arguments: { id: "1" } }], finishReason: "length" }
        for (const parts of [(yield* asked(turn)).content, yield* streamed(turn)]) {
          const [result] = resultsOf(parts) as ReadonlyArray<{ readonly type: string }>
          assert.strictEqual(result?.type, "execution-interrupted")
        }
      })
    )
  })

  it.layer(Live)("the pieces of calls", (it) => {
    const toolkit = Toolkit.make(Run)
    const streamed = (...deltas: ReadonlyArray<object>) =>
      Stream.runCollect(
        LanguageModel.streamText({
          prompt: JSON.stringify([
            ...deltas.map((delta) => ({ id: "r", choices: [{ index: 0, delta }] })),
            { choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] }
          ]),
          toolkit,
          disableToolCallResolution: true
        })
      ).pipe(
        Effect.map((parts) =>
          parts.flatMap((part) => (part.type === "tool-call" ? [[part.id, part.params] as const] : []))
        ),
        Effect.provide(DatabricksLanguageModel.model("chunks"))
      )
    const piece = (given: object, more: object = {}) => ({ function: given, ...more })
    const calls = (...tool_calls: ReadonlyArray<object>) => ({ tool_calls })

    it.effect("belong together by index, by id, or by order, as the endpoint tells them apart", () =>
      Effect.gen(function* () {
        const [one, two] = ['{"id":"1"}', '{"id":"2"}'] as const
        const params = [{ id: "1" }, { id: "2" }]
        const byIndex = yield* streamed(
          calls(
            piece({ name: "run", arguments: '{"id"' }, { index: 0, id: "a" }),
            piece({ name: "run" }, { index: 1, id: "b" })
          ),
          calls(piece({ arguments: two }, { index: 1 })),
          calls(piece({ arguments: ':"1"}' }, { index: 0 }))
        )
        assert.deepStrictEqual(byIndex, [
          ["a", params[0]],
          ["b", params[1]]
        ] as never)
        const allZero = yield* streamed(
          calls(piece({ name: "run", arguments: one }, { index: 0, id: "a" })),
          calls(piece({ name: "run", arguments: two }, { index: 0, id: "b" }))
        )
        assert.deepStrictEqual(allZero, byIndex)
        const noIndex = yield* streamed(
          calls(piece({ name: "run", arguments: '{"id":' }, { id: "a" })),
          calls(piece({ arguments: '"1"}' })),
          calls(piece({ name: "run", arguments: two }, { id: "b" }))
        )
        assert.deepStrictEqual(noIndex, byIndex)
        const repeated = yield* streamed(
          calls(piece({ name: "run", arguments: '{"id":' }, { index: 0, id: "a" })),
          calls(piece({ name: "run", arguments: '"1"}' }, { index: 0, id: "a" }))
        )
        assert.deepStrictEqual(repeated, byIndex.slice(0, 1))
      })
    )

    it.effect("run although a chunk without a finish reason follows the last one", () =>
      Effect.gen(function* () {
        const tool_calls = [piece({ name: "run", arguments: '{"id":"1"}' }, { index: 0, id: "a" })]
        const prompt = JSON.stringify([
          { choices: [{ index: 0, delta: { tool_calls }, finish_reason: "tool_calls" }] },
          { choices: [{ index: 0, delta: {}, finish_reason: null }] }
        ])
        assert.deepStrictEqual(resultsOf(yield* Stream.runCollect(LanguageModel.streamText({ prompt, toolkit }))), [
          "1 without"
        ])
      }).pipe(Effect.provide(DatabricksLanguageModel.model("chunks")))
    )

    it.effect("without ids get one each, which no other response has", () =>
      Effect.gen(function* () {
        const run = { name: "run", arguments: '{"id":"1"}' }
        const one = streamed(calls(piece(run, { index: 0, id: "" }), piece(run, { index: 1 })))
        const ids = [...(yield* one), ...(yield* one)].map(([id]) => id)
        assert.strictEqual(new Set(ids).size, 4)
      })
    )

    it.effect("with the id of another call get one of their own", () =>
      Effect.gen(function* () {
        const [one, two] = yield* streamed(
          calls(piece({ name: "run", arguments: '{"id":' }, { index: 0, id: "a" })),
          calls(piece({ name: "run", arguments: '{"id":' }, { index: 1, id: "a" })),
          calls(
            piece({ arguments: '"1"}' }, { index: 0, id: "a" }),
            piece({ arguments: '"2"}' }, { index: 1, id: "a" })
          )
        )
        assert.deepStrictEqual([one![1], two![1]], [{ id: "1" }, { id: "2" }])
        assert.strictEqual(one![0], "a")
        assert.notStrictEqual(two![0], "a")
      })
    )

    it.effect("are read also where a whole response lacks their ids, types or arguments", () =>
      Effect.gen(function* () {
        const tool_calls = [{ id: "a" }, { id: "a" }, { id: null, type: null }, {}].map(
          (more) => wholeCall(more).tool_calls[0]
        )
        const bare = { function: { name: "now" } }
        const toolkit = Toolkit.make(Run, Tool.make("now"))
        const message = { content: null, tool_calls: [...tool_calls, bare] }
        const prompt = JSON.stringify({ choices: [{ index: 0, message, finish_reason: "tool_calls" }] })
        const { toolCalls } = yield* LanguageModel.generateText({ prompt, toolkit, disableToolCallResolution: true })
        assert.strictEqual(new Set(toolCalls.map(({ id }) => id)).size, 5)
        assert.deepStrictEqual(
          toolCalls.map(({ params }) => params as object),
          [...tool_calls.map(() => ({ id: "1" })), {}]
        )
      }).pipe(Effect.provide(DatabricksLanguageModel.model("whole")))
    )

    it.effect("without a name fail with InvalidResponseError", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(streamed(calls(piece({ arguments: "{}" }, { index: 0, id: "a" }))))
        assert.strictEqual(error.reason._tag, "InvalidResponseError")
      })
    )

    it.effect("keep Gemini's thoughtSignature, which the next request has", () =>
      Effect.gen(function* () {
        const chat = yield* Chat.empty
        yield* chat.generateText({ prompt: "Hi", toolkit })
        yield* chat.generateText({ prompt: [], toolkit })
        const { messages } = (yield* signed.calls).at(-1)!.body as {
          readonly messages: ReadonlyArray<Record<string, unknown>>
        }
        const [call] = messages[1]!["tool_calls"] as ReadonlyArray<Record<string, unknown>>
        assert.deepInclude(call, { thoughtSignature: "c2ln" })
        assert.strictEqual(call!["id"], messages[2]!["tool_call_id"])
        assert.notStrictEqual(call!["id"], "")
      }).pipe(Effect.provide(DatabricksLanguageModel.model("signed")))
    )
  })
})
