import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import * as Serving from "effect-databricks/appkit/Serving"
import * as ResumableStreams from "effect-databricks/http/ResumableStreams"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Effect, Fiber, Layer, Schema } from "effect"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { recording } from "../fixtures/sqlWarehouse.ts"
import { serve, Served } from "../http/harness.ts"

/** A number as it is written, which a JavaScript number would change. */
const raw = (text: string) => (JSON as unknown as { readonly rawJSON: (text: string) => unknown }).rawJSON(text)

const echo = LocalServing.endpoint(
  (_, { servedModel, user }) => ({ user, servedModel, n: raw("9007199254740993.10") }),
  {
    servedModels: ["a", "b"]
  }
)
const hers = LocalServing.endpoint(() => ({ ok: true }), { users: [alice] })
const stuck = LocalServing.chat(() => ({ text: "", breaks: { with: "stall" } }))
const refusing = LocalServing.endpoint((body) => {
  const { retryAfter, status } = body as { status: number; retryAfter?: number }
  return LocalServing.refuse(status, "secret words of the workspace", { ...(retryAfter && { retryAfter }) })
})

const Price = Schema.Struct({
  dataframe_records: Schema.Array(Schema.Struct({ rooms: Schema.Int })),
  params: Schema.optional(Schema.Struct({ top_p: Schema.Finite }))
})

const Routes = Serving.layer({
  endpoints: {
    llm: "echo",
    b: { endpoint: "echo", servedModel: "b" },
    price: { endpoint: "echo", request: Price },
    hers: "hers",
    refusing: "refusing",
    gone: "no-such-endpoint",
    stuck: "stuck",
    limited: { endpoint: "stuck", timeout: "20 millis" }
  },
  default: "echo"
})

const services = Layer.mergeAll(ModelServing.layer, ResumableStreams.layer)

const App = serve(Routes, { services }).pipe(Layer.provideMerge(ClientConfig.layer))

const Named = serve(Serving.layer({ endpoints: { llm: "echo" } }), { services }).pipe(
  Layer.provideMerge(ClientConfig.layer)
)

const post = Effect.fnUntraced(function* (user: string | undefined, path: string, body: unknown) {
  const headers = user === undefined ? {} : yield* requestOf(user)
  return yield* Served.use((_) => _.call("POST", `/api/serving/${path}`, { headers, body }))
})

const question = { messages: [{ role: "user", content: "?" }] }

const invocations = /^\/serving-endpoints\//

layer(LocalWorkspace.layer({ serving: { echo, hers, stuck, refusing } }), {
  timeout: "60 seconds",
  excludeTestServices: true
})("appkit/Serving.layer", (it) => {
  it.layer(App)("invoke", (it) => {
    it.effect("answers each user with the JSON of the endpoint, as it came", () =>
      Effect.gen(function* () {
        for (const user of [alice, bob]) {
          for (const path of ["llm/invoke", "default/invoke", "invoke"]) {
            const { headers, status, text } = yield* post(user, path, {})
            assert.deepStrictEqual([status, text], [200, `{"user":"${user}","n":9007199254740993.10}`])
            assert.strictEqual(headers["content-type"], "application/json")
            assert.strictEqual(headers["cache-control"], "private, no-store")
          }
        }
        assert.strictEqual((yield* post(alice, "b/invoke", {})).json.servedModel, "b")
      })
    )

    it.effect("sends the body as it came, and no field of it chooses the endpoint", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const body =
          '"tools":[{"type":"function"}],"top_p":0.30,"temperature":1.0,"seed":9007199254740993,"response_format":{"type":"json_object"},"name":"hers","endpoint":"hers","model":"hers","alias":"hers","servedModel":"a"'
        for (const stream of ["", ',"stream":false']) {
          assert.strictEqual((yield* post(alice, "llm/invoke", `{${body}${stream}}`)).status, 200)
          assert.strictEqual((yield* echo.calls).at(-1)!.text, `{${body}}`)
        }
        const paths = (yield* seen("POST", invocations)).map(({ path }) => path)
        assert.deepStrictEqual(paths, ["/serving-endpoints/echo/invocations", "/serving-endpoints/echo/invocations"])
      })
    )

    it.effect(
      "refuses a body that does not match the Schema of its endpoint, by field, and sends any other as it came",
      () =>
        Effect.gen(function* () {
          const seen = yield* recording
          const dataframe_records = [{ rooms: 3 }]
          for (const [body, name] of [
            [{ dataframe_records, temperature: 1 }, "temperature"],
            [{ dataframe_records, params: { top_p: 1, top_k: 2 } }, "params.top_k"],
            [{ dataframe_records: [{ rooms: "3" }] }, "dataframe_records.0.rooms"],
            [{}, "dataframe_records"]
          ] as const) {
            for (const path of ["price/invoke", "price/stream"]) {
              const { json, status } = yield* post(alice, path, body)
              assert.deepStrictEqual([status, json.error.split(":")[0]], [400, name])
            }
          }
          assert.lengthOf(yield* seen("POST", invocations), 0)
          const right = '{"params":{"top_p":0.50},"dataframe_records":[{"rooms":3}]}'
          assert.strictEqual((yield* post(alice, "price/invoke", right)).status, 200)
          assert.strictEqual((yield* echo.calls).at(-1)!.text, right)
        })
    )

    it.effect("refuses a body that is not a JSON object, and one that asks for a stream", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        for (const body of ["{", "", "[]", '"text"', "null", "7", '{"stream":true}']) {
          const { json, status } = yield* post(alice, "llm/invoke", body)
          assert.strictEqual(status, 400, body)
          assert.isString(json.error)
        }
        assert.lengthOf(yield* seen("POST", invocations), 0)
      })
    )

    it.effect("answers 404 to an unknown alias, also to names that every object has", () =>
      Effect.gen(function* () {
        for (const alias of ["echo", "constructor", "__proto__"]) {
          for (const action of ["invoke", "stream"]) {
            const { json, status } = yield* post(alice, `${alias}/${action}`, question)
            assert.deepStrictEqual([status, json.plugin], [404, "serving"])
            assert.strictEqual(json.error, `No serving endpoint configured with alias "${alias}"`)
          }
        }
      })
    )

    it.effect("answers 401 to a request without a token, sends nothing, and goes on to serve", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        for (const path of ["invoke", "stream", "llm/invoke", "llm/stream"]) {
          const { json, status } = yield* post(undefined, path, question)
          assert.deepStrictEqual([status, json.plugin], [401, "serving"])
        }
        assert.lengthOf(yield* seen("POST", invocations), 0)
        assert.strictEqual((yield* post(alice, "invoke", question)).status, 200)
      })
    )

    it.effect("passes on the status of the endpoint before a stream begins, in our words", () =>
      Effect.gen(function* () {
        for (const action of ["invoke", "stream"]) {
          for (const [user, alias, body, status, error, retryAfter] of [
            [bob, "hers", question, 403, "You do not have the permission for this"],
            [alice, "gone", question, 404, "This does not exist, or you may not see it"],
            [alice, "refusing", { status: 400 }, 400, "Databricks refused this request"],
            [
              alice,
              "refusing",
              { status: 429, retryAfter: 40 },
              429,
              "Databricks has too many requests: try again soon",
              "40"
            ],
            [
              alice,
              "refusing",
              { status: 503, retryAfter: 50 },
              503,
              "Databricks is not available: try again soon",
              "50"
            ],
            [alice, "refusing", { status: 500 }, 502, "Databricks failed to do this: try again later"]
          ] as const) {
            const answer = yield* post(user, `${alias}/${action}`, body)
            assert.deepStrictEqual([answer.status, answer.json.error], [status, error])
            assert.strictEqual(answer.headers["retry-after"], retryAfter)
            assert.notInclude(answer.text, "secret")
          }
        }
      })
    )

    it.effect("answers 504 after the time limit of the endpoint, and aborts the call", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { json, status } = yield* post(alice, "limited/invoke", question)
        assert.deepStrictEqual([status, json.error], [504, "This took too long: try again"])
        yield* eventually(seen("POST", invocations), ([first]) => first?.aborted === true)
      })
    )

    it.effect("aborts the call of the endpoint when the client leaves", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const fiber = yield* Effect.forkChild(post(alice, "stuck/invoke", question))
        yield* eventually(seen("POST", invocations), (calls) => calls.length > 0)
        yield* Fiber.interrupt(fiber)
        yield* eventually(seen("POST", invocations), ([first]) => first?.aborted === true)
      })
    )

    it.effect("tells the page its aliases", () =>
      Effect.gen(function* () {
        const { plugins } = yield* ClientConfig.ClientConfig.use((_) => _.current)
        const aliases = ["llm", "b", "price", "hers", "refusing", "gone", "stuck", "limited", "default"]
        assert.deepStrictEqual(plugins["serving"], { isNamedMode: true, aliases })
      })
    )
  })

  it.layer(Named)("invoke without a default endpoint", (it) => {
    it.effect("answers 404 to hooks that name no alias", () =>
      Effect.gen(function* () {
        assert.strictEqual((yield* post(alice, "invoke", question)).status, 404)
        assert.strictEqual((yield* post(alice, "llm/invoke", question)).status, 200)
      })
    )
  })
})
