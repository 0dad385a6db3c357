import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import { LanguageModel, Tool, Toolkit } from "effect/ai"
import { serviceContext } from "../fixtures/workspace.ts"

const echo = LocalServing.endpoint(() => ({
  choices: [{ index: 0, message: { content: "Ok" }, finish_reason: "stop" }]
}))

const lastBody = Effect.map(
  echo.calls,
  (calls) =>
    calls.at(-1)!.body as {
      readonly tools: ReadonlyArray<{ readonly type: string; readonly function: Record<string, unknown> }>
      readonly tool_choice?: unknown
    }
)

const Live = DatabricksLanguageModel.model("echo").pipe(
  Layer.provideMerge(ModelServing.layer),
  Layer.provideMerge(serviceContext())
)

layer(LocalWorkspace.layer({ serving: { echo } }), { timeout: "60 seconds", excludeTestServices: true })(
  "The request of ai/LanguageModel",
  (it) => {
    it.layer(Live)("names the tools", (it) => {
      const Sales = Tool.make("sales", {
        description: "The units sold",
        parameters: Schema.Struct({ region: Schema.String, day: Schema.optionalKey(Schema.String) }),
        success: Schema.Number
      })
      const Now = Tool.make("now", { success: Schema.String }).annotate(Tool.Strict, true)
      const tools = Toolkit.make(Sales, Now)
      const Handlers = tools.toLayer({ sales: () => Effect.succeed(1), now: () => Effect.succeed("now") })
      const asked = <const Choice extends LanguageModel.ToolChoice<"sales" | "now">>(toolChoice: Choice) =>
        LanguageModel.generateText({ prompt: "Hi", toolkit: tools, toolChoice }).pipe(
          Effect.provide(Handlers),
          Effect.andThen(lastBody)
        )

      it.effect("with their JSON Schemas and the choice among them", () =>
        Effect.gen(function* () {
          const auto = yield* asked("auto")
          const object = { type: "object", additionalProperties: false }
          assert.deepStrictEqual(auto.tools, [
            {
              type: "function",
              function: {
                name: "sales",
                description: "The units sold",
                parameters: {
                  ...object,
                  properties: { region: { type: "string" }, day: { type: "string" } },
                  required: ["region"],
                  additionalProperties: true
                }
              }
            },
            { type: "function", function: { name: "now", parameters: { ...object, properties: {} }, strict: true } }
          ])
          assert.notProperty(auto, "tool_choice")
          assert.strictEqual((yield* asked("required")).tool_choice, "required")
          assert.strictEqual((yield* asked("none")).tool_choice, "none")
          assert.deepStrictEqual((yield* asked({ tool: "sales" })).tool_choice, {
            type: "function",
            function: { name: "sales" }
          })
          const one = yield* asked({ mode: "required", oneOf: ["sales"] })
          assert.strictEqual(one.tool_choice, "required")
          assert.lengthOf(one.tools, 1)
        })
      )

      it.effect("with an object at the top of each JSON Schema, and optional fields without anyOf", () =>
        Effect.gen(function* () {
          class Sale extends Schema.Class<Sale>("acme/domain/Sale")({ region: Schema.String }) {}
          interface Tree {
            readonly children: ReadonlyArray<Tree>
          }
          const Tree = Schema.Struct({
            children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
          }).annotate({ identifier: "Tree" })
          const Optional = Schema.Struct({
            days: Schema.optional(Schema.Array(Schema.String)),
            kind: Schema.optional(Schema.Literals(["a", "b"]))
          })
          for (const strict of [true, false]) {
            const toolkit = Toolkit.make(
              Tool.make("sale", { parameters: Sale }).annotate(Tool.Strict, strict),
              Tool.make("tree", { parameters: Tree }).annotate(Tool.Strict, strict),
              Tool.make("optional", { parameters: Optional }).annotate(Tool.Strict, strict)
            )
            yield* LanguageModel.generateText({ prompt: "Hi", toolkit, disableToolCallResolution: true })
            const [sale, tree, optional] = (yield* lastBody).tools.map((tool) => tool.function["parameters"] as object)
            assert.deepInclude(sale, { type: "object", properties: { region: { type: "string" } } })
            assert.nestedPropertyVal(tree, "type", "object")
            assert.nestedProperty(tree, "properties.children.items.$ref")
            assert.deepNestedInclude(optional!, {
              "properties.days": { type: ["array", "null"], items: { type: "string" } },
              "properties.kind": { type: ["string", "null"], enum: ["a", "b", null] }
            })
          }
        })
      )

      it.effect("and fails with ToolConfigurationError for a tool of another provider", () =>
        Effect.gen(function* () {
          const search = Tool.providerDefined({
            id: "openai.web_search",
            customName: "WebSearch",
            providerName: "web_search"
          })()
          const toolkit = Toolkit.make(search)
          const error = yield* Effect.flip(LanguageModel.generateText({ prompt: "Hi", toolkit: toolkit as never }))
          assert.strictEqual((error as { reason?: { _tag: string } }).reason?._tag, "ToolConfigurationError")
        })
      )
    })
  }
)
