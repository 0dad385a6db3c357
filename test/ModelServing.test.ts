import { assert, layer } from "@effect/vitest"
import {
  asService,
  ChatCompletion,
  type DatabricksError,
  getWorkspaceClient,
  ModelServing,
  provideUser
} from "effect-databricks"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { withSleep } from "./fixtures/clock.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const caller = LocalServing.endpoint((_, call) => ({ predictions: [call.user] }), { servedModels: ["v1", "v2"] })
const hers = LocalServing.endpoint(() => ({ predictions: ["hers"] }), { users: [alice] })
const stuck = LocalServing.endpoint(() => Effect.never)
const deploying = LocalServing.endpoint(() => ({ predictions: [1] }), {
  states: [
    { ready: "NOT_READY", configUpdate: "IN_PROGRESS" },
    { ready: "NOT_READY", configUpdate: "IN_PROGRESS" },
    { ready: "READY" }
  ]
})
const failedUpdate = LocalServing.endpoint(() => ({}), {
  states: [{ ready: "NOT_READY", configUpdate: "UPDATE_FAILED" }]
})
const canceledUpdate = LocalServing.endpoint(() => ({}), {
  states: [{ ready: "NOT_READY", configUpdate: "UPDATE_CANCELED" }]
})
const never = LocalServing.endpoint(() => ({}), { states: [{ ready: "NOT_READY", configUpdate: "IN_PROGRESS" }] })
let refusals = 0
const busy = LocalServing.endpoint(() =>
  refusals-- > 0 ? LocalServing.refuse(429, "Too many requests", { retryAfter: 0 }) : { predictions: ["at last"] }
)
const numbers = LocalServing.endpoint(() => ({ predictions: ["3"], id: "x" }))
const chat = LocalServing.chat((request) => ({ text: `You said ${ChatCompletion.textOf(request.messages.at(-1)!)}` }))
const embed = LocalServing.embeddings()

const serving = {
  caller,
  hers,
  stuck,
  deploying,
  failedUpdate,
  canceledUpdate,
  never,
  busy,
  numbers,
  chat,
  embed,
  "a/b c?": caller
}

const Live = ModelServing.layer.pipe(Layer.provideMerge(serviceContext()))

const Texts = ModelServing.Predictions(Schema.String)

const invoked = (name: string, body: object = {}, target?: ModelServing.Target) =>
  Effect.map(ModelServing.endpoint(name, target).invoke(Texts)(body), ({ predictions }) => predictions[0])

const requestsTo = (name: string) =>
  LocalWorkspace.LocalWorkspace.use(({ requests }) =>
    Effect.map(requests, (all) => all.filter(({ path }) => path.includes(`/${name}`)))
  )

layer(LocalWorkspace.layer({ serving }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("ModelServing", (it) => {
  it.layer(Live)("endpoint(…).invoke", (it) => {
    it.effect("runs as the caller of the fiber, in one span that names endpoint and caller", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const both = Effect.all([invoked("caller"), as(alice)(invoked("caller")), as(bob)(invoked("caller"))])
        const { exit, spans } = yield* spansOf(both)
        assert.deepStrictEqual(exit, Exit.succeed([servicePrincipal.clientId, alice, bob]))
        const operations = spans.filter(({ name }) => name === "plugin.execute")
        assert.lengthOf(operations, 3)
        for (const { attributes } of operations) {
          assert.include(attributes, { "operation.name": "serving.invoke", "serving.endpoint": "caller" })
        }
      })
    )

    it.effect("sends every field of the body, and calls the endpoint of the code whatever the body names", () =>
      Effect.gen(function* () {
        const body = {
          name: "hers",
          endpoint: "hers",
          tools: [],
          top_p: 0.5,
          response_format: { type: "json_object" },
          big: 9007199254740993n
        }
        assert.strictEqual(yield* as(bob)(invoked("caller", body)), bob)
        const { text } = (yield* caller.calls).at(-1)!
        assert.strictEqual(
          text,
          '{"name":"hers","endpoint":"hers","tools":[],"top_p":0.5,"response_format":{"type":"json_object"},"big":9007199254740993}'
        )
      })
    )

    it.effect("calls one served model, and an endpoint whose name has special characters", () =>
      Effect.gen(function* () {
        yield* invoked("caller", {}, { servedModel: "v2" })
        assert.strictEqual((yield* caller.calls).at(-1)!.servedModel, "v2")
        const error = yield* Effect.flip(invoked("caller", {}, { servedModel: "v3" }))
        assert.strictEqual(error.reason._tag, "NotFoundError")
        // The transport refuses dot segments before anything is sent.
        const other = yield* Effect.flip(invoked("../api/2.0/secrets"))
        assert.strictEqual(other.reason._tag, "InvalidRequestError")
        yield* invoked("a/b c?")
      })
    )

    it.effect("fails with the workspace's status: no permission, no scope, no endpoint", () =>
      Effect.gen(function* () {
        const unknown = yield* Effect.flip(invoked("nowhere"))
        assert.strictEqual(unknown.reason._tag, "NotFoundError")
        assert.strictEqual(yield* as(alice)(invoked("hers")), "hers")
        const denied = yield* Effect.flip(as(bob)(invoked("hers")))
        assert.include(denied, { _tag: "DatabricksError", context: "user", status: 403 } as object)
        const headers = yield* LocalWorkspace.LocalWorkspace.use((_) =>
          _.headers(alice, { scopes: ["iam.current-user:read", "sql"] })
        )
        const scope = yield* Effect.flip(provideUser(invoked("caller"), headers))
        assert.strictEqual((scope as DatabricksError.DatabricksError).reason._tag, "MissingScopeError")
        assert.include(scope.message, 'needs the scope "model-serving"')
      })
    )

    it.effect("refuses, before anything is sent, a body above 16 MiB, one with NaN, and one with stream: true", () =>
      Effect.gen(function* () {
        const before = (yield* requestsTo("caller")).length
        const large = yield* Effect.flip(invoked("caller", { text: "x".repeat(16 * 1024 * 1024) }))
        assert.include(large.message, "at most 16777216 are allowed")
        const nan = yield* Effect.flip(invoked("caller", { rows: [{ price: Number.NaN }] }))
        assert.include(nan.message, '"price" is NaN')
        const streamed = yield* Effect.flip(invoked("caller", { stream: true }))
        assert.include(streamed.message, "call the endpoint's stream")
        for (const error of [large, nan, streamed]) assert.strictEqual(error.reason._tag, "InvalidRequestError")
        assert.lengthOf(yield* requestsTo("caller"), before)
        // 16 MiB minus the other bytes of the body: {"text":""}
        yield* invoked("caller", { text: "x".repeat(16 * 1024 * 1024 - 11) })
      })
    )

    it.effect("keeps integers exact, and rounds fractions", () =>
      Effect.gen(function* () {
        yield* LocalWorkspace.LocalWorkspace.use((_) =>
          _.misbehave({
            kind: "answer",
            status: 200,
            headers: { "content-type": "application/json" },
            body: '{"id":9007199254740993,"score":0.10000000000000000555}',
            path: "/serving-endpoints/numbers",
            times: 1
          })
        )
        const Scored = Schema.Struct({ id: Schema.BigInt, score: Schema.Number })
        assert.deepStrictEqual(yield* ModelServing.endpoint("numbers").invoke(Scored)({}), {
          id: 9007199254740993n,
          score: 0.1
        })
      })
    )

    it.effect("names the place at which a response does not match its Schema, and not the value", () =>
      Effect.gen(function* () {
        const Numbers = ModelServing.Predictions(Schema.Number)
        const error = yield* Effect.flip(ModelServing.endpoint("caller").invoke(Numbers)({}))
        assert.include(error.message, '"predictions.0": the value is text and not a number')
      })
    )

    it.effect("retries a 429 after its Retry-After by default, not with retry: false, and keeps status and delay", () =>
      Effect.gen(function* () {
        refusals = 1
        assert.strictEqual(yield* invoked("busy"), "at last")
        refusals = 1
        const once = ModelServing.endpoint("busy").invoke(Texts, { retry: false })({})
        const error = yield* Effect.flip(once)
        assert.strictEqual(error.reason._tag, "RateLimitedError")
        assert.strictEqual(error.status, 429)
        assert.isDefined(error.retryAfter)
        assert.isTrue(error.isRetryable)
      })
    )

    it.effect("does not send a request again that may have run, also with the option retry", () =>
      Effect.gen(function* () {
        const before = (yield* caller.calls).length
        yield* LocalWorkspace.LocalWorkspace.use((_) =>
          _.misbehave({ kind: "drop", when: "after", path: "/serving-endpoints/caller", times: 1 })
        )
        const lost = ModelServing.endpoint("caller").invoke(Texts, { retry: { attempts: 3, delay: 1 } })({})
        assert.strictEqual((yield* Effect.flip(lost)).reason._tag, "ConnectionError")
        assert.lengthOf(yield* caller.calls, before + 1)
      })
    )

    it.effect("aborts the request when it is interrupted and when it times out", () =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(invoked("stuck"))
        yield* eventually(requestsTo("stuck"), (all) => all.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* eventually(requestsTo("stuck"), (all) => all[0]!.aborted)
        const timed = ModelServing.endpoint("stuck").invoke(Texts, { timeout: "100 millis" })({})
        const error = yield* Effect.flip(timed)
        assert.include(error.message, "serving.invoke took longer than 100ms")
        yield* eventually(requestsTo("stuck"), (all) => all.length === 2 && all[1]!.aborted)
      })
    )

    it.effect("decodes chat completions and embeddings", () =>
      Effect.gen(function* () {
        const { choices, usage } = yield* ModelServing.endpoint("chat").invoke(ChatCompletion.Completion)({
          messages: [{ role: "user", content: "hello" }]
        } satisfies ChatCompletion.Request)
        assert.strictEqual(ChatCompletion.textOf(choices[0]!.message), "You said hello")
        assert.strictEqual(choices[0]!.finish_reason, "stop")
        assert.isAbove(usage!.prompt_tokens ?? 0, 0)
        const { data } = yield* ModelServing.endpoint("embed").invoke(ModelServing.Embeddings)({
          input: ["a", "b", "a"]
        })
        assert.deepStrictEqual(
          data.map(({ index }) => index),
          [0, 1, 2]
        )
        assert.deepStrictEqual(data[0]!.embedding, data[2]!.embedding)
        assert.notDeepEqual(data[0]!.embedding, data[1]!.embedding)
      })
    )

    it.effect("is called by the official SDK too", () =>
      Effect.gen(function* () {
        const client = yield* getWorkspaceClient
        const answer = yield* client.use((sdk) =>
          sdk.servingEndpoints.query({ name: "chat", messages: [{ role: "user", content: "hi" }] })
        )
        assert.strictEqual(answer.choices?.[0]?.message?.content, "You said hi")
        const found = yield* client.use((sdk) => sdk.servingEndpoints.get({ name: "chat" }))
        assert.strictEqual(found.state?.ready, "READY")
      })
    )
  })

  it.layer(Live)("endpoint(…).state and ready", (it) => {
    it.effect("reads state, task and served models", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* ModelServing.endpoint("chat").state, {
          isReady: true,
          configUpdate: "NOT_UPDATING",
          task: "llm/v1/chat",
          servedModels: ["model-1"]
        })
      })
    )

    it.effect("waits until the endpoint is ready", () =>
      Effect.gen(function* () {
        const { invoke, ready } = ModelServing.endpoint("deploying")
        const refused = yield* Effect.flip(invoke(Schema.Unknown, { retry: false })({}))
        assert.strictEqual(refused.reason._tag, "UnavailableError")
        yield* ready()
        yield* invoke(Schema.Unknown)({})
      })
    )

    it.effect("waits on through failures of the workspace and lost connections", () =>
      Effect.gen(function* () {
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        for (const fault of [{ kind: "answer", status: 500 }, { kind: "drop" }, { kind: "truncate" }] as const) {
          yield* misbehave({ ...fault, path: "/api/2.0/serving-endpoints/chat", times: 2 })
          yield* ModelServing.endpoint("chat").ready()
        }
      }).pipe(Effect.scoped)
    )

    it.effect("waits for 10 minutes by default", () =>
      Effect.gen(function* () {
        const hurried = withSleep(
          (sleep) => (duration) =>
            sleep(Duration.equals(duration, Duration.minutes(10)) ? Duration.millis(300) : duration)
        )
        const error = yield* Effect.flip(hurried(ModelServing.endpoint("never").ready()))
        assert.include(error.message, "serving.ready took longer than 10m")
      })
    )

    it.effect("fails if the last update failed or was canceled, and if the endpoint is unknown", () =>
      Effect.gen(function* () {
        const failed = yield* Effect.flip(ModelServing.endpoint("failedUpdate").ready())
        assert.include(failed, { _tag: "EndpointNotReadyError", configUpdate: "UPDATE_FAILED" } as object)
        const canceled = yield* Effect.flip(ModelServing.endpoint("canceledUpdate").ready())
        assert.include(canceled, { _tag: "EndpointNotReadyError", configUpdate: "UPDATE_CANCELED" } as object)
        const unknown = yield* Effect.flip(ModelServing.endpoint("nowhere").ready())
        assert.include(unknown, { status: 404 } as object)
      })
    )
  })

  it.layer(Live)("user", (it) => {
    it.effect("runs as alice in her call, also under asService, and dies outside of it", () =>
      Effect.gen(function* () {
        const mine = Effect.flatMap(ModelServing.user, ({ endpoint }) => endpoint("caller").invoke(Texts)({}))
        assert.deepStrictEqual((yield* as(alice)(mine)).predictions, [alice])
        assert.deepStrictEqual((yield* as(alice)(asService(mine))).predictions, [alice])
        const { endpoint } = yield* as(alice)(ModelServing.user)
        const { invoke, ready, state } = endpoint("caller")
        for (const elsewhere of [invoke(Texts)({}), state, ready()] as ReadonlyArray<Effect.Effect<unknown, unknown>>) {
          for (const exit of [yield* Effect.exit(as(bob)(elsewhere)), yield* Effect.exit(elsewhere)]) {
            assert.isTrue(Exit.hasDies(exit as Exit.Exit<unknown, unknown>))
            assert.include(Cause.pretty((exit as Exit.Failure<unknown, unknown>).cause), "in the call that uses it")
          }
        }
      })
    )
  })
})
