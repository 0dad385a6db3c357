import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import { Chat, LanguageModel, Prompt, Tool, Toolkit } from "effect/ai"
import { serviceContext } from "../fixtures/workspace.ts"

const echo = LocalServing.endpoint(() => ({
  choices: [{ index: 0, message: { content: "Ok" }, finish_reason: "stop" }]
}))
const thinker = LocalServing.chat(() => ({
  reasoning: "Let me see.",
  signature: "c2ln",
  text: "12",
  toolCalls: [{ id: "c1", name: "sales", arguments: { region: "EMEA" } }]
}))

const Echo = DatabricksLanguageModel.model("echo")
const Thinker = DatabricksLanguageModel.model("thinker")
const Live = ModelServing.layer.pipe(Layer.provideMerge(serviceContext()))

type Body = {
  readonly messages: ReadonlyArray<unknown>
}

const bodyOf = (endpoint: LocalServing.Endpoint) => Effect.map(endpoint.calls, (calls) => calls.at(-1)!.body as Body)

const sent = (prompt: Prompt.RawInput) =>
  Effect.andThen(
    LanguageModel.generateText({ prompt }),
    Effect.map(bodyOf(echo), ({ messages }) => messages)
  )

const refused = (prompt: Prompt.RawInput) =>
  Effect.gen(function* () {
    const before = (yield* echo.calls).length
    const { reason } = yield* Effect.flip(LanguageModel.generateText({ prompt }))
    assert.lengthOf(yield* echo.calls, before, "it was not sent")
    assert.strictEqual(reason._tag, "InvalidRequestError")
    return reason.message
  })

const file = (mediaType: string, data: string | Uint8Array | URL, options?: Prompt.ProviderOptions) =>
  Prompt.makePart("file", { mediaType, data, ...(options && { options }) })

const user = (...content: ReadonlyArray<Prompt.UserMessagePart>) => Prompt.makeMessage("user", { content })
const assistant = (...content: ReadonlyArray<Prompt.AssistantMessagePart>) =>
  Prompt.makeMessage("assistant", { content })
const text = (text: string, options?: Prompt.ProviderOptions) =>
  Prompt.makePart("text", { text, ...(options && { options }) })
const call = (id: string, params: unknown, providerExecuted = false) =>
  Prompt.makePart("tool-call", { id, name: "sales", params, providerExecuted })
const result = (id: string, value: unknown, more: object = {}) =>
  Prompt.makePart("tool-result", {
    id,
    name: "sales",
    result: value,
    isFailure: false,
    providerExecuted: false,
    ...more
  })
const tool = (...content: ReadonlyArray<Prompt.ToolMessagePart>) => Prompt.makeMessage("tool", { content })

layer(LocalWorkspace.layer({ serving: { echo, thinker } }), { timeout: "60 seconds", excludeTestServices: true })(
  "The prompt of ai/LanguageModel",
  (it) => {
    it.layer(Layer.provideMerge(Echo, Live))("is sent", (it) => {
      it.effect("as messages of system, user and assistant, one text as a text", () =>
        Effect.gen(function* () {
          const prompt = [
            Prompt.makeMessage("system", { content: "Be brief." }),
            user(text("Hi")),
            assistant(text("Hello"), text("")),
            user(text("One"), text("Two"))
          ]
          assert.deepStrictEqual(yield* sent(prompt), [
            { role: "system", content: "Be brief." },
            { role: "user", content: "Hi" },
            { role: "assistant", content: "Hello" },
            {
              role: "user",
              content: [
                { type: "text", text: "One" },
                { type: "text", text: "Two" }
              ]
            }
          ])
        })
      )

      it.effect("with images as data URIs and URLs", () =>
        Effect.gen(function* () {
          const bytes = new Uint8Array([137, 80, 78, 71])
          const messages = yield* sent([
            user(
              text("What is it?"),
              file("image/png", bytes),
              file("image/*", "iVBORw=="),
              file("image/png", "data:image/png;base64,iVBORw=="),
              file("image/png", new URL("https://example.com/a.png"), { databricks: { detail: "low" } })
            )
          ])
          const url = (url: string, more: object = {}) => ({ type: "image_url", image_url: { url, ...more } })
          assert.deepStrictEqual(messages, [
            {
              role: "user",
              content: [
                { type: "text", text: "What is it?" },
                url("data:image/png;base64,iVBORw=="),
                url("data:image/jpeg;base64,iVBORw=="),
                url("data:image/png;base64,iVBORw=="),
                url("https://example.com/a.png", { detail: "low" })
              ]
            }
          ])
        })
      )

      it.effect("with further fields of a part, such as cache_control", () =>
        Effect.gen(function* () {
          const options = { databricks: { cache_control: { type: "ephemeral" } } }
          const messages = yield* sent([
            Prompt.makeMessage("system", { content: "Long.", options }),
            user(text("Hi", options))
          ])
          const { databricks } = options
          assert.deepStrictEqual(messages, [
            { role: "system", content: [{ type: "text", text: "Long.", ...databricks }] },
            { role: "user", content: [{ type: "text", text: "Hi", ...databricks }] }
          ])
        })
      )

      it.effect("with calls of tools and their results, integers exact", () =>
        Effect.gen(function* () {
          const messages = yield* sent([
            user(text("Hi")),
            assistant(
              text("I look."),
              call("c1", { region: "EMEA" }),
              call("c2", '{"region": EM'),
              call("c3", { id: 1n })
            ),
            tool(
              result("c1", { units: 9007199254740993n }),
              result("c2", "twelve"),
              result("c3", undefined, { modelOutput: [text("none"), text("at all")] })
            ),
            tool(result("c4", undefined))
          ])
          const calls = [
            ["c1", '{"region":"EMEA"}'],
            ["c2", '{"region": EM'],
            ["c3", '{"id":1}']
          ].map(([id, given]) => ({ id, type: "function", function: { name: "sales", arguments: given } }))
          assert.deepStrictEqual(messages, [
            { role: "user", content: "Hi" },
            { role: "assistant", content: "I look.", tool_calls: calls },
            { role: "tool", tool_call_id: "c1", content: '{"units":9007199254740993}' },
            { role: "tool", tool_call_id: "c2", content: "twelve" },
            {
              role: "tool",
              tool_call_id: "c3",
              content: [
                { type: "text", text: "none" },
                { type: "text", text: "at all" }
              ]
            },
            { role: "tool", tool_call_id: "c4", content: "null" }
          ])
        })
      )

      it.effect("with reasoning as it came from the endpoint, and without reasoning of another origin", () =>
        Effect.gen(function* () {
          const signed = { databricks: { type: "summary_text", signature: "c2ln" } }
          const encrypted = { databricks: { type: "summary_encrypted_text", data: "x" } }
          const messages = yield* sent([
            user(text("Hi")),
            assistant(
              Prompt.makePart("reasoning", { text: "Hm.", options: signed }),
              Prompt.makePart("reasoning", { text: "", options: encrypted }),
              Prompt.makePart("reasoning", { text: "Of another provider.", options: { openai: { id: "1" } } }),
              text("Hello")
            ),
            assistant(Prompt.makePart("reasoning", { text: "Alone." })),
            user(text("Go on"))
          ])
          assert.deepStrictEqual(messages, [
            { role: "user", content: "Hi" },
            {
              role: "assistant",
              content: [
                { type: "reasoning", summary: [{ type: "summary_text", signature: "c2ln", text: "Hm." }] },
                { type: "reasoning", summary: [{ type: "summary_encrypted_text", data: "x" }] },
                { type: "text", text: "Hello" }
              ]
            },
            { role: "user", content: "Go on" }
          ])
        })
      )

      it.effect("with a result for each call that was stopped before it had one", () =>
        Effect.gen(function* () {
          const messages = yield* sent([
            user(text("Hi")),
            assistant(call("c1", {}), call("c2", {})),
            tool(result("c2", 12)),
            user(text("Go on"))
          ])
          const [, , stopped, ...others] = messages as ReadonlyArray<{ readonly content: string }>
          assert.deepInclude(stopped, { role: "tool", tool_call_id: "c1" } as object)
          assert.deepInclude(JSON.parse(stopped!.content), { type: "execution-interrupted" })
          assert.deepStrictEqual<unknown>(others, [
            { role: "tool", tool_call_id: "c2", content: "12" },
            { role: "user", content: "Go on" }
          ])
        })
      )

      it.effect("without approvals that are settled", () =>
        Effect.gen(function* () {
          const messages = yield* sent([
            user(text("Hi")),
            assistant(call("c1", {}), Prompt.makePart("tool-approval-request", { approvalId: "a1", toolCallId: "c1" })),
            tool(Prompt.makePart("tool-approval-response", { approvalId: "a1", approved: true }), result("c1", 12)),
            user(text("Go on"))
          ])
          assert.deepStrictEqual(messages.slice(2), [
            { role: "tool", tool_call_id: "c1", content: "12" },
            { role: "user", content: "Go on" }
          ])
        })
      )
    })

    it.layer(Layer.provideMerge(Echo, Live))("is refused before it is sent", (it) => {
      it.effect("if a part has no form in a request: its type or place is named", () =>
        Effect.gen(function* () {
          const asked = user(text("Hi"))
          const cases: ReadonlyArray<readonly [string, ReadonlyArray<Prompt.Message>]> = [
            ["application/pdf: only images", [user(file("application/pdf", "JVBERi0="))]],
            ["neither https nor data", [user(file("image/png", new URL("file:///etc/passwd")))]],
            ["type file in a message of the assistant", [asked, assistant(file("image/png", "iVBORw=="))]],
            ["which another provider ran", [asked, assistant(call("c1", {}, true))]],
            ["type tool-result in a message of the assistant", [asked, assistant(result("c1", 1))]],
            [
              'a file (image/png) in the result "c1"',
              [
                asked,
                assistant(call("c1", {})),
                tool(result("c1", 1, { modelOutput: [file("image/png", "iVBORw==")] }))
              ]
            ],
            [
              'add a tool-approval-response for "a1"',
              [
                asked,
                assistant(
                  call("c1", {}),
                  Prompt.makePart("tool-approval-request", { approvalId: "a1", toolCallId: "c1" })
                )
              ]
            ]
          ]
          for (const [said, prompt] of cases) assert.include(yield* refused(prompt), said)
        })
      )
    })

    it.layer(Layer.provideMerge(Thinker, Live))("goes on in a Chat", (it) => {
      it.effect("with the signature of its reasoning, after a stream and after a response", () =>
        Effect.gen(function* () {
          const sales = Tool.make("sales", {
            parameters: Schema.Struct({ region: Schema.String }),
            success: Schema.Number
          })
          const toolkit = Toolkit.make(sales)
          const Handlers = toolkit.toLayer({ sales: () => Effect.succeed(12) })
          const chat = yield* Chat.empty
          yield* Effect.provide(chat.generateText({ prompt: "Hi", toolkit }), Handlers)
          yield* Effect.provide(chat.generateText({ prompt: [], toolkit }), Handlers)
          const { messages } = yield* bodyOf(thinker)
          assert.deepStrictEqual(messages.slice(1), [
            {
              role: "assistant",
              content: [
                { type: "reasoning", summary: [{ type: "summary_text", signature: "c2ln", text: "Let me see." }] },
                { type: "text", text: "12" }
              ],
              tool_calls: [{ id: "c1", type: "function", function: { name: "sales", arguments: '{"region":"EMEA"}' } }]
            },
            { role: "tool", tool_call_id: "c1", content: "12" }
          ])
        })
      )
    })
  }
)
