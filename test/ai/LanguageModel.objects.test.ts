import { assert, layer } from "@effect/vitest"
import { ModelServing } from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Schema } from "effect"
import { LanguageModel } from "effect/ai"
import { serviceContext } from "../fixtures/workspace.ts"

const turns: Record<string, LocalServing.Turn> = {
  long: { text: '{"region":"EM', finishReason: "length" },
  filtered: { text: "I ", finishReason: "content_filter" },
  sale: { text: '{"region":"EMEA","note":null,"units":12}' },
  other: { text: '{"region":12}' }
}

/** A model whose turn is named by the last message, or whose text is that message. */
const chat = LocalServing.chat(({ messages }) => {
  const text = String(messages.at(-1)!.content)
  return turns[text] ?? { text }
})
const refusing = LocalServing.endpoint(() => ({
  choices: [{ index: 0, message: { content: null, refusal: "I will not." }, finish_reason: "stop" }]
}))

const lastBody = Effect.map(chat.calls, (calls) => calls.at(-1)!.body as Record<string, unknown>)

const Live = DatabricksLanguageModel.model("chat").pipe(
  Layer.provideMerge(ModelServing.layer),
  Layer.provideMerge(serviceContext())
)

layer(LocalWorkspace.layer({ serving: { chat, refusing } }), { timeout: "60 seconds", excludeTestServices: true })(
  "The objects of ai/LanguageModel",
  (it) => {
    it.layer(Live)("generateObject", (it) => {
      class Sale extends Schema.Class<Sale>("acme/domain/Sale")({
        region: Schema.String.check(Schema.isMinLength(1)),
        note: Schema.optionalKey(Schema.String),
        units: Schema.Finite
      }) {}

      it.effect("asks for a strict JSON Schema, and decodes the object", () =>
        Effect.gen(function* () {
          const { value } = yield* LanguageModel.generateObject({ prompt: "sale", schema: Sale })
          assert.deepStrictEqual({ ...value }, { region: "EMEA", units: 12 })
          const { response_format } = (yield* lastBody) as { readonly response_format: { json_schema: object } }
          assert.nestedPropertyVal(response_format, "type", "json_schema")
          assert.deepInclude(response_format.json_schema, { name: "acme_domain_Sale", strict: true })
          assert.nestedPropertyVal(response_format, "json_schema.schema.type", "object")
          assert.deepNestedInclude(response_format, {
            "json_schema.schema.properties.note.type": ["string", "null"],
            "json_schema.schema.additionalProperties": false
          })
        })
      )

      it.effect(
        "fails with the reason: another object, the limit of tokens, the filter, a Schema it cannot express",
        () =>
          Effect.gen(function* () {
            const failure = (prompt: string) =>
              Effect.map(Effect.flip(LanguageModel.generateObject({ prompt, schema: Sale })), (error) => error.reason)
            assert.strictEqual((yield* failure("other"))._tag, "StructuredOutputError")
            const long = yield* failure("long")
            assert.deepInclude(long, { _tag: "StructuredOutputError", responseText: '{"region":"EM' })
            assert.include(long.message, "raise max_tokens")
            assert.strictEqual((yield* failure("filtered"))._tag, "ContentPolicyError")
            const before = (yield* chat.calls).length
            const list = yield* Effect.flip(
              // The types admit objects only.
              LanguageModel.generateObject({ prompt: "sale", schema: Schema.Array(Sale) as unknown as typeof Sale })
            )
            assert.strictEqual(list.reason._tag, "UnsupportedSchemaError")
            assert.lengthOf(yield* chat.calls, before, "it was not sent")
          })
      )

      it.effect("decodes dates, unions, recursion and absent optional fields", () =>
        Effect.gen(function* () {
          interface Tree {
            readonly name: string
            readonly children: ReadonlyArray<Tree>
          }
          const Tree = Schema.Struct({
            name: Schema.String,
            children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
          }).annotate({ identifier: "Tree" })
          const Report = Schema.Struct({
            at: Schema.DateFromString,
            of: Schema.Union([
              Schema.TaggedStruct("Region", { region: Schema.String }),
              Schema.TaggedStruct("Order", { id: Schema.BigInt })
            ]),
            tree: Tree,
            days: Schema.optional(Schema.Array(Schema.String)),
            kind: Schema.optionalKey(Schema.Literals(["a", "b"]))
          })
          const tree = { name: "a", children: [{ name: "b", children: [] }] }
          const written = {
            at: "2026-01-31T23:30:00Z",
            of: { _tag: "Order", id: "1121234567890123457" },
            tree,
            days: null,
            kind: null
          }
          const prompt = JSON.stringify(written)
          const { value } = yield* LanguageModel.generateObject({ prompt, schema: Report })
          assert.deepStrictEqual(value, {
            at: new Date("2026-01-31T23:30:00Z"),
            of: { _tag: "Order", id: 1121234567890123457n },
            tree
          })
        })
      )

      it.effect("fails on an integer beyond 2^53, which would be rounded, and says to declare a string", () =>
        Effect.gen(function* () {
          const Run = Schema.Struct({ id: Schema.Finite, share: Schema.Finite })
          const whole = '{"id":9007199254740991,"share":0.1234567890123456789}'
          const { value } = yield* LanguageModel.generateObject({ prompt: whole, schema: Run })
          assert.deepStrictEqual(value, { id: 9007199254740991, share: 0.12345678901234568 })
          const prompt = '{"share":1,"id":1121234567890123457}'
          const { reason } = yield* Effect.flip(LanguageModel.generateObject({ prompt, schema: Run }))
          assert.strictEqual(reason._tag, "StructuredOutputError")
          assert.include(reason.message, "1121234567890123457 would be rounded: declare its field as Schema.String")
        })
      )

      it.effect("fails with ContentPolicyError and the model's words if the model refuses", () =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(LanguageModel.generateObject({ prompt: "sale", schema: Sale }))
          assert.deepInclude(error.reason, { _tag: "ContentPolicyError", description: "I will not." })
        }).pipe(Effect.provide(DatabricksLanguageModel.model("refusing")))
      )
    })
  }
)
