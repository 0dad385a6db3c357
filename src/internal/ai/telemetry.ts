/** The attributes of OpenTelemetry's conventions for generative AI. */
import * as Telemetry from "effect/ai/Telemetry"
import type { Tracer } from "effect"
import type * as ChatCompletion from "../../ChatCompletion.ts"

/** Writes the request's parameters. */
export const request = (
  span: Tracer.Span,
  endpoint: string,
  operation: "chat" | "embeddings",
  config: Readonly<Record<string, unknown>>
): void =>
  Telemetry.addGenAIAnnotations(span, {
    provider: { name: "databricks" },
    operation: { name: operation },
    request: {
      model: endpoint,
      temperature: numberOf(config["temperature"]),
      topK: numberOf(config["top_k"]),
      topP: numberOf(config["top_p"]),
      maxTokens: numberOf(config["max_tokens"] ?? config["max_completion_tokens"]),
      frequencyPenalty: numberOf(config["frequency_penalty"]),
      presencePenalty: numberOf(config["presence_penalty"]),
      seed: numberOf(config["seed"]),
      stopSequences: stopsOf(config["stop"])
    }
  })

interface About extends Pick<ChatCompletion.Chunk, "id" | "model" | "usage"> {
  readonly finish?: string | undefined
}

/** Writes the response's id, model, reason to stop and tokens. */
export const response = (span: Tracer.Span, { finish, id, model, usage }: About): void =>
  Telemetry.addGenAIAnnotations(span, {
    response: { id, model, finishReasons: finish === undefined ? undefined : [finish] },
    usage: { inputTokens: usage?.prompt_tokens, outputTokens: usage?.completion_tokens }
  })

const numberOf = (value: unknown) => (typeof value === "number" ? value : undefined)

const stopsOf = (value: unknown) =>
  typeof value === "string" ? [value] : Array.isArray(value) ? value.map(String) : undefined
