/** The body of a chat request: prompt → messages, tools, response format, and the fields of the configuration. */
import { Effect, SchemaAST } from "effect"
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Tool from "effect/ai/Tool"
import type { Config } from "../../ai/LanguageModel.ts"
import { nullable } from "./jsonSchema.ts"
import * as Messages from "./messages.ts"

/** Returns the body. The fields of the prompt come last, so no configuration replaces them. */
export const of = Effect.fnUntraced(function* (
  options: LanguageModel.ProviderOptions,
  config: Config,
  transformer: LanguageModel.CodecTransformer
) {
  const messages = yield* Messages.of(options.prompt)
  const tools = yield* Effect.forEach(options.tools, (tool) => toolOf(tool, transformer))
  const choice = choiceOf(options.toolChoice)
  const { responseFormat } = options
  return {
    ...config,
    messages,
    ...(tools.length > 0 && { tools, ...(choice !== "auto" && { tool_choice: choice }) }),
    ...(responseFormat.type === "json" && { response_format: yield* formatOf(responseFormat, transformer) })
  }
})

const toolOf = (
  tool: Tool.Any,
  transformer: LanguageModel.CodecTransformer
): Effect.Effect<object, AiError.AiErrorReason> => {
  if (Tool.isProviderDefined(tool)) {
    return Effect.fail(
      new AiError.ToolConfigurationError({
        toolName: tool.name,
        description: "A serving endpoint runs no tool of another provider: give the tool a handler with Tool.make"
      })
    )
  }
  const { name } = tool
  const description = Tool.getDescription(tool)
  const strict = Tool.getStrictMode(tool)
  return Effect.map(
    // The default one replaces a reference at the top, which endpoints refuse.
    unsupported(() =>
      Tool.getJsonSchema(tool, { transformer: strict === true ? transformer : LanguageModel.defaultCodecTransformer })
    ),
    (schema) => ({
      type: "function",
      function: {
        name,
        ...(description !== undefined && { description }),
        // OpenAI refuses an object without properties.
        parameters: { ...(schema.type === "object" && { properties: {} }), ...(nullable(schema) as object) },
        ...(strict !== undefined && { strict })
      }
    })
  )
}

// The tools are those of `oneOf` already.
const choiceOf = (choice: LanguageModel.ToolChoice<string>) => {
  if (typeof choice === "string") return choice
  return "tool" in choice ? { type: "function", function: { name: choice.tool } } : (choice.mode ?? "auto")
}

const formatOf = (
  { objectName, schema }: Extract<LanguageModel.ProviderOptions["responseFormat"], { readonly type: "json" }>,
  transformer: LanguageModel.CodecTransformer
) => {
  const description = SchemaAST.resolveDescription(schema.ast)
  return Effect.map(
    unsupported(() => transformer(schema).jsonSchema),
    (jsonSchema) => ({
      type: "json_schema",
      json_schema: {
        // The characters and the length that endpoints accept; the identifier of a class has slashes.
        name: objectName.replaceAll(/[^\w-]+/g, "_").slice(0, 64),
        ...(description !== undefined && { description }),
        schema: jsonSchema,
        strict: true
      }
    })
  )
}

const unsupported = <A>(convert: () => A) =>
  Effect.try({
    try: convert,
    catch: (error) =>
      new AiError.UnsupportedSchemaError({ description: error instanceof Error ? error.message : String(error) })
  })
