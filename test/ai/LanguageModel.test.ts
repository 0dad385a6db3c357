import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Option, Stream } from "effect"
import { AiError, LanguageModel, Model, type Response } from "effect/ai"
import { alice, as } from "../fixtures/people.ts"
import { makeRecorder } from "../fixtures/spans.ts"
import { serviceContext } from "../fixtures/workspace.ts"

const usage = {
  prompt_tokens: 10,
  completion_tokens: 7,
  total_tokens: 17,
  prompt_tokens_details: { cached_tokens: 4 },
  completion_tokens_details: { reasoning_tokens: 5 }
}

const turns: Record<string, LocalServing.Turn> = {
  says: { text: "Größe: 12 ✓ – und 👍", usage },
  reasons: { reasoning: "Twelve is even.", signature: "c2ln", text: "Yes.", usage: { ...usage, reasoning_tokens: 9 } },
  claude: { text: "Hi", usage: { prompt_tokens: 3, cache_read_input_tokens: 2, cache_creation_input_tokens: 1 } },
  filtered: { text: "I ", finishReason: "content_filter" },
  long: { text: '{"region":"EM', finishReason: "length" },
  odd: { text: "Hm", finishReason: "eos" }
}

/** A model whose turn is named by the last message. */
const chat = LocalServing.chat((request) => turns[String(request.messages.at(-1)!.content)]!)
const raw = LocalServing.endpoint((body) => {
  const { messages } = body as { readonly messages: ReadonlyArray<{ readonly content: string }> }
  return JSON.parse(messages[0]!.content) as unknown
})

const Chat = DatabricksLanguageModel.model("chat", { max_tokens: 100, temperature: 0.5, stop: ["END"] })
const Raw = DatabricksLanguageModel.model("raw")

const Live = ModelServing.layer.pipe(Layer.provideMerge(serviceContext()))

const lastBody = Effect.map(chat.calls, (calls) => calls.at(-1)!.body as Record<string, unknown>)

const message = (fields: object, finish_reason: string | null = "stop") =>
  JSON.stringify({ choices: [{ index: 0, message: fields, finish_reason }] })

/** Each block of a stream as one part. */
const folded = (parts: ReadonlyArray<Response.StreamPart<{}>>) => {
  const texts = new Map<string, string>()
  for (const part of parts) if ("delta" in part) texts.set(part.id, (texts.get(part.id) ?? "") + part.delta)
  return parts.flatMap((part) =>
    part.type === "text-end" || part.type === "reasoning-end"
      ? { type: part.type.replace("-end", ""), text: texts.get(part.id), metadata: part.metadata }
      : []
  )
}

layer(LocalWorkspace.layer({ serving: { chat, raw } }), { timeout: "60 seconds", excludeTestServices: true })(
  "ai/LanguageModel",
  (it) => {
    it.layer(Live)("generateText and streamText", (it) => {
      it.effect("return text, finish reason and the tokens of each kind", () =>
        Effect.gen(function* () {
          const response = yield* LanguageModel.generateText({ prompt: "says" })
          assert.strictEqual(response.text, turns["says"]!.text)
          assert.strictEqual(response.finishReason, "stop")
          assert.deepStrictEqual(
            { ...response.usage },
            {
              inputTokens: { total: 10, uncached: 6, cacheRead: 4, cacheWrite: undefined },
              outputTokens: { total: 7, text: 2, reasoning: 5 }
            }
          )
          const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "says" }))
          assert.deepStrictEqual(folded(parts), [{ type: "text", text: turns["says"]!.text, metadata: {} }])
          const finish = parts.at(-1)!
          assert.deepInclude(finish, { type: "finish", reason: "stop", usage: response.usage })
          assert.include(parts[0], { type: "response-metadata", modelId: "local" })
        }).pipe(Effect.provide(Chat))
      )

      it.effect("return reasoning with its signature, and count the tokens as Claude and GPT name them", () =>
        Effect.gen(function* () {
          const { content, usage } = yield* LanguageModel.generateText({ prompt: "reasons" })
          const metadata = { databricks: { type: "summary_text", signature: "c2ln" } }
          const blocks = [
            { type: "reasoning", text: "Twelve is even.", metadata },
            { type: "text", text: "Yes.", metadata: {} }
          ]
          assert.deepStrictEqual(
            content.flatMap((part) =>
              part.type === "reasoning" || part.type === "text"
                ? { type: part.type as string, text: part.text, metadata: part.metadata as object }
                : []
            ),
            blocks
          )
          assert.strictEqual(usage.outputTokens.reasoning, 5)
          const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "reasons" }))
          assert.deepStrictEqual<unknown>(folded(parts), blocks)
          const claude = (yield* LanguageModel.generateText({ prompt: "claude" })).usage
          assert.deepStrictEqual<unknown>(claude.inputTokens, {
            total: 3,
            uncached: undefined,
            cacheRead: 2,
            cacheWrite: 1
          })
        }).pipe(Effect.provide(Chat))
      )

      it.effect("map each finish reason, and an unknown one to other", () =>
        Effect.gen(function* () {
          const reasons: Record<string, Response.FinishReason> = {}
          for (const prompt of ["says", "filtered", "long", "odd"]) {
            reasons[prompt] = (yield* LanguageModel.generateText({ prompt })).finishReason
            const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt }))
            assert.deepInclude(parts.at(-1), { type: "finish", reason: reasons[prompt]! })
          }
          assert.deepStrictEqual(reasons, { says: "stop", filtered: "content-filter", long: "length", odd: "other" })
        }).pipe(Effect.provide(Chat))
      )

      it.effect("read responses in every form: without usage, with reasoning_content, with a refusal", () =>
        Effect.gen(function* () {
          const plain = yield* LanguageModel.generateText({ prompt: message({ content: "Hi" }, null) })
          assert.deepInclude(plain, { text: "Hi", finishReason: "unknown", reasoningText: undefined })
          assert.strictEqual(plain.usage.inputTokens.total, undefined)
          const gpt = yield* LanguageModel.generateText({
            prompt: message({ content: [{ type: "text", text: "A" }, { type: "other" }], reasoning_content: "Hm" })
          })
          assert.deepInclude(gpt, { text: "A", reasoningText: "Hm" })
          const refused = yield* LanguageModel.generateText({ prompt: message({ content: null, refusal: "No." }) })
          assert.deepInclude(refused, { text: "No.", finishReason: "content-filter" })
          const encrypted = yield* LanguageModel.generateText({
            prompt: message({
              content: [{ type: "reasoning", summary: [{ type: "summary_encrypted_text", data: "x" }] }]
            })
          })
          assert.deepInclude(encrypted.reasoning[0], {
            text: "",
            metadata: { databricks: { type: "summary_encrypted_text", data: "x" } }
          })
        }).pipe(Effect.provide(Raw))
      )

      it.effect("fail with InvalidResponseError on a response without choices or of another format", () =>
        Effect.gen(function* () {
          for (const prompt of ['{"choices":[]}', '{"predictions":[1]}']) {
            const error = yield* Effect.flip(LanguageModel.generateText({ prompt }))
            assert.strictEqual(error.reason._tag, "InvalidResponseError")
          }
        }).pipe(Effect.provide(Raw))
      )
    })

    it.layer(Live)("the configuration", (it) => {
      it.effect("is sent unchanged with any further field, and cannot replace the prompt", () =>
        Effect.gen(function* () {
          yield* LanguageModel.generateText({ prompt: "says" })
          const messages = [{ role: "user", content: "says" }]
          assert.deepStrictEqual(yield* lastBody, { max_tokens: 100, temperature: 0.5, stop: ["END"], messages })
          yield* LanguageModel.generateText({ prompt: "says" }).pipe(
            DatabricksLanguageModel.withConfigOverride({ temperature: 0, thinking: { type: "enabled" } }),
            DatabricksLanguageModel.withConfigOverride({ max_tokens: 5, temperature: 1 })
          )
          assert.deepStrictEqual(yield* lastBody, {
            max_tokens: 5,
            temperature: 0,
            stop: ["END"],
            thinking: { type: "enabled" },
            messages
          })
          const other = { messages: [], temperature: 0.1 } as object as DatabricksLanguageModel.Config
          yield* Effect.provideService(
            LanguageModel.generateText({ prompt: "says" }),
            DatabricksLanguageModel.Config,
            other
          )
          assert.deepStrictEqual((yield* lastBody)["messages"], messages)
        }).pipe(Effect.provide(Chat))
      )

      it.effect("asks for the usage of a stream, unless stream_options says otherwise", () =>
        Effect.gen(function* () {
          yield* Stream.runDrain(LanguageModel.streamText({ prompt: "says" }))
          assert.deepInclude(yield* lastBody, {
            stream: true,
            stream_options: { include_usage: true },
            temperature: 0.5
          })
          const without = Stream.provideService(
            LanguageModel.streamText({ prompt: "says" }),
            DatabricksLanguageModel.Config,
            { stream_options: undefined }
          )
          yield* Stream.runDrain(without)
          assert.notProperty(yield* lastBody, "stream_options")
        }).pipe(Effect.provide(Chat))
      )
    })

    it.layer(Live)("the spans", (it) => {
      it.effect("have the attributes of generative AI, above the span of the request with its caller", () =>
        Effect.gen(function* () {
          const text = LanguageModel.generateText({ prompt: "says" })
          const stream = Stream.runDrain(LanguageModel.streamText({ prompt: "says" }))
          for (const [name, effect] of [
            ["LanguageModel.generateText", Effect.asVoid(text)],
            ["LanguageModel.streamText", stream]
          ] as const) {
            const { spans, tracer } = makeRecorder()
            yield* Effect.withTracer(as(alice)(effect), tracer)
            const model = spans.find((span) => span.name === name)!
            const { "gen_ai.response.id": id, ...attributes } = Object.fromEntries(model.attributes)
            assert.isString(id)
            assert.deepInclude(attributes, {
              "gen_ai.provider.name": "databricks",
              "gen_ai.operation.name": "chat",
              "gen_ai.request.model": "chat",
              "gen_ai.request.temperature": 0.5,
              "gen_ai.request.max_tokens": 100,
              "gen_ai.request.stop_sequences": ["END"],
              "gen_ai.response.model": "local",
              "gen_ai.response.finish_reasons": ["stop"],
              "gen_ai.usage.input_tokens": 10,
              "gen_ai.usage.output_tokens": 7
            })
            const request = spans.find((span) => span.name === "plugin.execute")!
            assert.include(Object.fromEntries(request.attributes), {
              "execution.context": "user",
              "serving.endpoint": "chat"
            })
            assert.strictEqual(Option.getOrUndefined(request.parent)?.spanId, model.spanId)
          }
        }).pipe(Effect.provide(Chat))
      )
    })

    it.layer(Live)("model", (it) => {
      it.effect("names provider and endpoint", () =>
        Effect.gen(function* () {
          assert.strictEqual(yield* Model.ProviderName, "databricks")
          assert.strictEqual(yield* Model.ModelName, "chat")
        }).pipe(Effect.provide(Chat))
      )

      it.effect("passes served model and time limit to the request", () =>
        Effect.gen(function* () {
          const V1 = DatabricksLanguageModel.model("chat", {}, { servedModel: "model-1", timeout: "1 minute" })
          yield* Effect.provide(LanguageModel.generateText({ prompt: "says" }), V1)
          assert.strictEqual((yield* chat.calls).at(-1)!.servedModel, "model-1")
          const V2 = DatabricksLanguageModel.model("chat", {}, { servedModel: "model-2" })
          const error = yield* Effect.flip(Effect.provide(LanguageModel.generateText({ prompt: "says" }), V2))
          assert.isTrue(AiError.isAiError(error))
        })
      )
    })
  }
)
