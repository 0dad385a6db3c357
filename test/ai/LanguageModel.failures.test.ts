import { assert, layer } from "@effect/vitest"
import { DatabricksError, HttpFailure, ModelServing, provideUser } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Duration, Effect, ExecutionPlan, Fiber, Layer, Queue, Schema, Stream } from "effect"
import { type AiError, Chat, LanguageModel, type Response, Tool, Toolkit } from "effect/ai"
import { eventually } from "../fixtures/eventually.ts"
import { alice, as, bob } from "../fixtures/people.ts"
import { serviceContext } from "../fixtures/workspace.ts"

const { refuse } = LocalServing

const turns: Record<string, LocalServing.Turn | LocalServing.Refusal> = {
  "too long": refuse(400, "The prompt is too long", { errorCode: "BAD_REQUEST" }),
  filter: refuse(400, "The response was filtered", { errorCode: "content_filter" }),
  guardrail: refuse(400, "Error: input_guardrail_triggered"),
  busy: refuse(429, "Too many requests", { retryAfter: 7 }),
  away: refuse(503, "Starting"),
  broken: refuse(500, "Internal"),
  "fails at once": { text: "x".repeat(30), breaks: { with: refuse(429, "Overloaded", { retryAfter: 7 }) } },
  "fails later": { text: "x".repeat(30), breaks: { after: 2, with: refuse(429, "Overloaded", { retryAfter: 7 }) } },
  "is filtered later": { text: "x".repeat(30), breaks: { after: 2, with: refuse(400, "content_filter") } },
  "ends later": { text: "x".repeat(30), breaks: { after: 2, with: "end" } },
  "ends at once": { text: "x", breaks: { with: "end" } },
  stalls: { text: "x".repeat(30), breaks: { after: 2, with: "stall" } },
  "stalls at once": { text: "x", breaks: { with: "stall" } }
}

const chat = LocalServing.chat((request) => turns[String(request.messages.at(-1)!.content)] ?? { text: "Ok" })
const second = LocalServing.chat(() => ({ text: "Second" }))
const hers = LocalServing.chat(() => ({ text: "Hers" }), { users: [alice] })
let refusals = 0
const recovers = LocalServing.chat(() =>
  refusals-- > 0 ? refuse(429, "Busy", { retryAfter: 0 }) : { text: "At last" }
)

const asks = LocalServing.chat(({ messages }) =>
  messages.at(-1)!.content === "Ask" ? { toolCalls: [{ name: "ask" }] } : { text: "Ok" }
)

/** Fails after a chunk that has the role only. */
const role = LocalServing.endpoint(() =>
  Stream.fromIterable([
    { id: "r", choices: [{ index: 0, delta: { role: "assistant", content: "" } }] },
    { error: { message: "Overloaded", status: 429 } }
  ])
)

const Once = DatabricksLanguageModel.model("chat", {}, { retry: false })

const Live = ModelServing.layer.pipe(Layer.provideMerge(serviceContext()))

const requestsTo = (name: string) =>
  LocalWorkspace.LocalWorkspace.use(({ requests }) =>
    Effect.map(requests, (all) => all.filter(({ path }) => path.includes(`/${name}/`)))
  )

const generated = (prompt: string) => Effect.flip(LanguageModel.generateText({ prompt }))

/** The text that a stream gave, and the error after it. */
const streamed = (prompt: string) =>
  Effect.gen(function* () {
    let text = ""
    const error = yield* LanguageModel.streamText({ prompt }).pipe(
      Stream.runForEach((part) => Effect.sync(() => (text += part.type === "text-delta" ? part.delta : ""))),
      Effect.flip
    )
    return { text, error }
  })

const textOf = (parts: ReadonlyArray<Response.StreamPart<{}>>) =>
  parts.map((part) => (part.type === "text-delta" ? part.delta : "")).join("")

layer(LocalWorkspace.layer({ serving: { asks, chat, second, hers, recovers, role } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("The failures of ai/LanguageModel", (it) => {
  it.layer(Layer.provideMerge(Once, Live))("of a refused request", (it) => {
    const cases: ReadonlyArray<readonly [string, AiError.AiErrorReason["_tag"], number, boolean]> = [
      ["too long", "InvalidRequestError", 400, false],
      ["filter", "ContentPolicyError", 400, false],
      ["guardrail", "ContentPolicyError", 400, false],
      ["busy", "RateLimitError", 429, true],
      ["away", "InternalProviderError", 503, true],
      ["broken", "InternalProviderError", 500, true]
    ]

    it.effect("are AiErrors by the status, with our error as cause, and the same in a stream", () =>
      Effect.gen(function* () {
        for (const [prompt, tag, status, isRetryable] of cases) {
          for (const error of [yield* generated(prompt), (yield* streamed(prompt)).error]) {
            assert.include(error.reason, { _tag: tag, isRetryable } as object, prompt)
            const cause = DatabricksLanguageModel.causeOf(error)
            assert.instanceOf(cause, DatabricksError.DatabricksError)
            assert.strictEqual(cause?._tag === "DatabricksError" ? cause.status : 0, status)
            assert.strictEqual((error.reason as AiError.RateLimitError).http?.response?.status, status)
          }
        }
        const busy = yield* generated("busy")
        assert.deepStrictEqual(busy.retryAfter, Duration.seconds(7))
      })
    )

    it.effect("tell a missing permission, a missing scope and a missing endpoint apart", () =>
      Effect.gen(function* () {
        const hers = DatabricksLanguageModel.model("hers")
        const denied = yield* as(bob)(Effect.provide(generated("Hi"), hers))
        assert.deepInclude(denied.reason, { _tag: "AuthenticationError", kind: "InsufficientPermissions" })
        const headers = yield* LocalWorkspace.LocalWorkspace.use((_) =>
          _.headers(alice, { scopes: ["sql", "iam.current-user:read"] })
        )
        const scope = yield* provideUser(Effect.provide(generated("Hi"), hers), headers)
        assert.include(scope.message, 'needs the scope "model-serving"')
        const nowhere = yield* Effect.provide(generated("Hi"), DatabricksLanguageModel.model("nowhere"))
        assert.strictEqual(nowhere.reason._tag, "InvalidRequestError")
        assert.include(nowhere.message, "nowhere")
      })
    )

    it.effect("answer over HTTP like their cause", () =>
      Effect.gen(function* () {
        const answer = (error: unknown) => HttpFailure.fromError(error, { development: false })
        assert.deepInclude(answer(yield* as(alice)(generated("busy"))), {
          status: 429,
          retryAfter: Duration.seconds(7)
        })
        assert.strictEqual(answer(yield* as(alice)(generated("too long"))).status, 400)
        assert.strictEqual(answer((yield* streamed("ends later")).error).status, 502)
        assert.strictEqual(answer(yield* Effect.flip(LanguageModel.generateText({ prompt: [] }))).status, 400)
        const late = DatabricksLanguageModel.model("chat", {}, { timeout: "50 millis" })
        assert.strictEqual(answer(yield* Effect.provide(generated("stalls at once"), late)).status, 504)
      })
    )
  })

  it.layer(Layer.provideMerge(Once, Live))("inside a stream", (it) => {
    it.effect("may be retryable before the first token, and never are after it", () =>
      Effect.gen(function* () {
        const cases: ReadonlyArray<readonly [string, AiError.AiErrorReason["_tag"], boolean]> = [
          ["fails at once", "RateLimitError", true],
          ["ends at once", "NetworkError", true],
          ["fails later", "UnknownError", false],
          ["ends later", "UnknownError", false],
          ["is filtered later", "ContentPolicyError", false]
        ]
        for (const [prompt, tag, isRetryable] of cases) {
          const before = (yield* requestsTo("chat")).length
          const { error, text } = yield* streamed(prompt)
          assert.include(error.reason, { _tag: tag, isRetryable } as object, prompt)
          assert.strictEqual(text, isRetryable ? "" : "x".repeat(16), prompt)
          const cause = DatabricksLanguageModel.causeOf(error)
          assert.strictEqual(cause?._tag, "ModelStreamError")
          assert.lengthOf(yield* requestsTo("chat"), before + 1, "it was not sent again")
        }
      })
    )

    it.effect("by a time limit keep OperationTimeoutError as cause, and abort the request", () =>
      Effect.gen(function* () {
        const first = DatabricksLanguageModel.model("chat", {}, { timeout: "100 millis", idleTimeout: "1 hour" })
        const at = yield* Effect.provide(streamed("stalls at once"), first)
        assert.include(at.error.reason, { _tag: "InternalProviderError", isRetryable: true } as object)
        const next = DatabricksLanguageModel.model("chat", {}, { timeout: "1 hour", idleTimeout: "100 millis" })
        const later = yield* Effect.provide(streamed("stalls"), next)
        assert.include(later.error.reason, { _tag: "UnknownError", isRetryable: false } as object)
        for (const { error } of [at, later]) {
          assert.strictEqual(DatabricksLanguageModel.causeOf(error)?._tag, "OperationTimeoutError")
        }
        yield* eventually(requestsTo("chat"), (all) => all.slice(-2).every(({ aborted }) => aborted))
      })
    )
  })

  it.layer(Layer.provideMerge(DatabricksLanguageModel.model("recovers"), Live))("by a 429", (it) => {
    it.effect("are retried after Retry-After before the first token, up to 3 attempts", () =>
      Effect.gen(function* () {
        refusals = 2
        assert.strictEqual((yield* LanguageModel.generateText({ prompt: "Hi" })).text, "At last")
        refusals = 2
        assert.strictEqual(textOf(yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Hi" }))), "At last")
        assert.lengthOf(yield* requestsTo("recovers"), 6)
        refusals = 3
        assert.strictEqual((yield* generated("Hi")).reason._tag, "RateLimitError")
        refusals = 0
      })
    )
  })

  it.layer(Layer.provideMerge(Once, Live))("interruption", (it) => {
    it.effect("aborts the request of a response, and of a stream", () =>
      Effect.gen(function* () {
        const before = (yield* requestsTo("chat")).length
        const response = yield* Effect.forkChild(generated("stalls at once"))
        yield* eventually(requestsTo("chat"), (all) => all.length === before + 1)
        yield* Fiber.interrupt(response)
        yield* eventually(requestsTo("chat"), (all) => all[before]!.aborted)
        const began = yield* Queue.unbounded<void>()
        const stream = yield* LanguageModel.streamText({ prompt: "stalls" }).pipe(
          Stream.runForEach(() => Queue.offer(began, undefined)),
          Effect.forkChild
        )
        yield* Queue.take(began)
        yield* Fiber.interrupt(stream)
        yield* eventually(requestsTo("chat"), (all) => all[before + 1]!.aborted)
      })
    )

    it.effect("aborts the request of a tool that runs, and a stopped Chat goes on", () =>
      Effect.gen(function* () {
        const Ask = Tool.make("ask", { success: Schema.String, dependencies: [ModelServing.ModelServing] })
        const toolkit = Toolkit.make(Ask)
        const Handlers = toolkit.toLayer({
          ask: () =>
            Effect.orDie(
              ModelServing.endpoint("chat").invoke(Schema.String)({
                messages: [{ role: "user", content: "stalls at once" }]
              })
            )
        })
        const Asks = Layer.merge(DatabricksLanguageModel.model("asks"), Handlers)
        for (const run of [
          (chat: Chat.Chat) => Effect.asVoid(chat.generateText({ prompt: "Ask", toolkit })),
          (chat: Chat.Chat) => Stream.runDrain(chat.streamText({ prompt: "Ask", toolkit }))
        ]) {
          const chat = yield* Chat.empty
          const before = (yield* requestsTo("chat")).length
          const fiber = yield* Effect.forkChild(as(alice)(Effect.provide(run(chat), Asks)))
          yield* eventually(requestsTo("chat"), (all) => all.length === before + 1)
          yield* Fiber.interrupt(fiber)
          yield* eventually(requestsTo("chat"), (all) => all[before]!.aborted && all[before]!.user === alice)
          const { text } = yield* as(alice)(Effect.provide(chat.generateText({ prompt: "Go on" }), Asks))
          assert.strictEqual(text, "Ok")
        }
      })
    )
  })

  it.layer(Live)("with an ExecutionPlan", (it) => {
    const plan = ExecutionPlan.make(
      { provide: DatabricksLanguageModel.model("chat", {}, { retry: false }) },
      { provide: DatabricksLanguageModel.model("second") }
    )
    const stream = (prompt: string) =>
      LanguageModel.streamText({ prompt }).pipe(
        Stream.withExecutionPlan(plan, { preventFallbackOnPartialStream: true })
      )

    it.effect(
      "fall back to the second endpoint from a refusal, and from a stream that broke before its first token",
      () =>
        Effect.gen(function* () {
          for (const prompt of ["busy", "broken"]) {
            const { text } = yield* LanguageModel.generateText({ prompt }).pipe(Effect.withExecutionPlan(plan))
            assert.strictEqual(text, "Second")
          }
          for (const prompt of ["busy", "fails at once", "ends at once"]) {
            assert.strictEqual(textOf(yield* Stream.runCollect(stream(prompt))), "Second", prompt)
          }
        })
    )

    it.effect("fall back from a stream whose only chunk has no token", () =>
      Effect.gen(function* () {
        const Role = DatabricksLanguageModel.model("role", {}, { retry: false })
        const error = yield* Effect.provide(
          Effect.map(streamed("Hi"), (_) => _.error),
          Role
        )
        assert.include(error.reason, { _tag: "RateLimitError", isRetryable: true } as object)
        const steps = ExecutionPlan.make({ provide: Role }, { provide: DatabricksLanguageModel.model("second") })
        const parts = yield* LanguageModel.streamText({ prompt: "Hi" }).pipe(
          Stream.withExecutionPlan(steps, { preventFallbackOnPartialStream: true }),
          Stream.runCollect
        )
        assert.strictEqual(textOf(parts), "Second")
      })
    )

    it.effect("never fall back after the first token", () =>
      Effect.gen(function* () {
        const before = (yield* second.calls).length
        for (const prompt of ["fails later", "ends later"]) {
          const error = yield* Effect.flip(Stream.runDrain(stream(prompt)))
          assert.strictEqual(DatabricksLanguageModel.causeOf(error as AiError.AiError)?._tag, "ModelStreamError")
        }
        assert.lengthOf(yield* second.calls, before)
      })
    )

    it.effect("run each step as the caller", () =>
      Effect.gen(function* () {
        const users = ExecutionPlan.make(
          { provide: DatabricksLanguageModel.user("hers") },
          { provide: DatabricksLanguageModel.user("second") }
        )
        const text = Effect.map(
          Effect.withExecutionPlan(LanguageModel.generateText({ prompt: "Hi" }), users),
          (response) => response.text
        )
        assert.strictEqual(yield* as(alice)(text), "Hers")
        assert.strictEqual(yield* as(bob)(text), "Second")
        assert.strictEqual((yield* second.calls).at(-1)!.user, bob)
      })
    )
  })
})
