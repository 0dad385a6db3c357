import { assert, layer } from "@effect/vitest"
import { asService, ModelServing } from "effect-databricks"
import * as DatabricksEmbeddingModel from "effect-databricks/ai/EmbeddingModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Cause, Deferred, Effect, Exit, Fiber, identity, Layer } from "effect"
import { EmbeddingModel, Model } from "effect/ai"
import { eventually } from "../fixtures/eventually.ts"
import { alice, as, bob } from "../fixtures/people.ts"
import { makeRecorder } from "../fixtures/spans.ts"
import { serviceContext } from "../fixtures/workspace.ts"

const embed = LocalServing.embeddings((text) => [text.length, text.charCodeAt(0)])

const inputOf = (body: unknown) => (body as { readonly input: ReadonlyArray<string> }).input

/** Answers in the opposite order. */
const backwards = LocalServing.endpoint((body) => ({
  data: inputOf(body)
    .map((text, index) => ({ index, embedding: [Number(text)] }))
    .toReversed()
}))

/** Answers with the vectors that the first text has. */
const scripted = LocalServing.endpoint((body) => ({ data: JSON.parse(inputOf(body)[0]!) as unknown }))
const busy = LocalServing.endpoint(() => LocalServing.refuse(429, "Busy", { retryAfter: 0 }))

const Live = ModelServing.layer.pipe(Layer.provideMerge(serviceContext()))

const many = (texts: ReadonlyArray<string>) => EmbeddingModel.EmbeddingModel.use((model) => model.embedMany(texts))
const one = (text: string) => EmbeddingModel.EmbeddingModel.use((model) => model.embed(text))
const vectors = ({ embeddings }: EmbeddingModel.EmbedManyResponse) => embeddings.map(({ vector }) => vector)

/** Runs an effect in several calls. All go on in one turn, after each user's token is verified. */
const inOneTurn = Effect.fnUntraced(function* <A, E, R, E2, R2>(
  effect: Effect.Effect<A, E, R>,
  calls: ReadonlyArray<(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E2, R2>>
) {
  const go = yield* Deferred.make<void>()
  let ready = 0
  const waiting = Effect.sync(() => ready++).pipe(Effect.andThen(Deferred.await(go)), Effect.andThen(effect))
  const fiber = yield* Effect.forkChild(Effect.forEach(calls, (call) => call(waiting), { concurrency: "unbounded" }))
  yield* eventually(() => ready === calls.length)
  yield* Deferred.succeed(go, undefined)
  return yield* Fiber.join(fiber)
})

const Embed = DatabricksEmbeddingModel.model("embed", { dimensions: 2, maxBatchSize: 3, config: { instruction: "Q" } })

layer(LocalWorkspace.layer({ serving: { embed, backwards, scripted, busy } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("ai/EmbeddingModel", (it) => {
  it.layer(Layer.provideMerge(Embed, Live))("embedMany", (it) => {
    it.effect("sends batches of at most maxBatchSize, and returns vectors in order and the tokens of all", () =>
      Effect.gen(function* () {
        const before = (yield* embed.calls).length
        const texts = ["aaaa", "b", "cc", "ddd", "eeeee", "f", "aaaa"]
        const response = yield* many(texts)
        assert.deepStrictEqual(
          vectors(response),
          texts.map((text) => [text.length, text.charCodeAt(0)])
        )
        const bodies = (yield* embed.calls).slice(before).map(({ body }) => body)
        assert.deepStrictEqual(bodies, [
          { instruction: "Q", input: texts.slice(0, 3) },
          { instruction: "Q", input: texts.slice(3, 6) },
          { instruction: "Q", input: texts.slice(6) }
        ])
        assert.strictEqual(response.usage.inputTokens, 8)
        assert.strictEqual(yield* EmbeddingModel.Dimensions, 2)
        assert.strictEqual(yield* Model.ModelName, "embed")
        assert.deepStrictEqual(vectors(yield* many([])), [])
      })
    )

    it.effect("puts the endpoint, the model and the tokens into the span", () =>
      Effect.gen(function* () {
        const { spans, tracer } = makeRecorder()
        yield* Effect.withTracer(many(["a"]), tracer)
        const span = spans.find(({ name }) => name === "EmbeddingModel.embedMany")!
        assert.deepInclude(Object.fromEntries(span.attributes), {
          "gen_ai.operation.name": "embeddings",
          "gen_ai.provider.name": "databricks",
          "gen_ai.request.model": "embed",
          "gen_ai.usage.input_tokens": 1
        })
      })
    )
  })

  it.layer(Live)("a response", (it) => {
    it.effect("is put into the order of its index", () =>
      Effect.gen(function* () {
        const model = yield* DatabricksEmbeddingModel.make("backwards")
        assert.deepStrictEqual(vectors(yield* model.embedMany(["3", "1", "2"])), [[3], [1], [2]])
      })
    )

    it.effect("with a missing, a duplicate, a foreign or a short vector fails, and so does a refusal", () =>
      Effect.gen(function* () {
        const model = yield* DatabricksEmbeddingModel.make("scripted", { dimensions: 1 })
        const vector = (index: number, embedding = [1]) => ({ index, embedding })
        for (const [said, data] of [
          ["returned 1 vectors for 2 texts", [vector(0)]],
          ["returned 3 vectors for 2 texts", [vector(0), vector(1), vector(2)]],
          ["no vector for the text 1", [vector(0), vector(0)]],
          ["no vector for the text 1", [vector(0), vector(5)]],
          ["a vector of 2 numbers", [vector(0), vector(1, [1, 2])]]
        ] as const) {
          const error = yield* Effect.flip(model.embedMany([JSON.stringify(data), "b"]))
          assert.strictEqual(error.reason._tag, "InvalidResponseError")
          assert.include(error.message, said)
        }
        const refused = yield* DatabricksEmbeddingModel.make("busy", { retry: false })
        assert.strictEqual((yield* Effect.flip(refused.embedMany(["a"]))).reason._tag, "RateLimitError")
      })
    )
  })

  it.layer(Layer.provideMerge(Embed, Live))("embed", (it) => {
    it.effect("batches concurrent calls of one caller, and never those of two", () =>
      Effect.gen(function* () {
        const before = (yield* embed.calls).length
        const texts = ["a", "bb"]
        const both = Effect.forEach(texts, one, { concurrency: "unbounded" })
        const all = yield* inOneTurn(both, [as(alice), as(bob), identity])
        for (const found of all)
          assert.deepStrictEqual(
            found.map(({ vector }) => vector[0]),
            [1, 2]
          )
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const calls = (yield* embed.calls).slice(before)
        const sent = calls.map(({ body, user }) => [user, inputOf(body)] as const)
        const expected = [alice, bob, servicePrincipal.clientId].map((user) => [user, texts] as const)
        assert.sameDeepMembers(sent, expected)
      })
    )
  })

  it.layer(Live)("user", (it) => {
    const User = DatabricksEmbeddingModel.user("embed", { dimensions: 2 })

    it.effect("batches the calls of one user, also those under asService, apart from another user's", () =>
      Effect.gen(function* () {
        const before = (yield* embed.calls).length
        const both = Effect.all([one("a"), asService(one("bb"))], { concurrency: "unbounded" })
        const model = yield* as(alice)(Effect.provide(EmbeddingModel.EmbeddingModel, User))
        yield* inOneTurn(Effect.provideService(both, EmbeddingModel.EmbeddingModel, model), [as(alice), as(bob)])
        const calls = (yield* embed.calls).slice(before)
        assert.sameDeepMembers(
          calls.map(({ body, user }) => [user, inputOf(body)]),
          [alice, bob].map((user) => [user, ["a", "bb"]])
        )
      })
    )

    it.effect("runs as the user, also under asService, and dies outside of any call", () =>
      Effect.gen(function* () {
        const lastUser = Effect.map(embed.calls, (calls) => calls.at(-1)!.user)
        for (const user of [alice, bob]) {
          for (const run of [many(["a"]), one("a")]) {
            yield* as(user)(Effect.provide(run as ReturnType<typeof many>, User))
            assert.strictEqual(yield* lastUser, user)
            yield* as(user)(Effect.provide(asService(run as ReturnType<typeof many>), User))
            assert.strictEqual(yield* lastUser, user)
          }
        }
        const built = yield* as(alice)(Effect.provide(EmbeddingModel.EmbeddingModel, User))
        const exit = yield* Effect.exit(built.embedMany(["a"]))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      })
    )
  })
})
