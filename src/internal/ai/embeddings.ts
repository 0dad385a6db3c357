/** An embedding model over a serving endpoint: texts → batches → vectors in the order of the texts. */
import { Array as Arr, Effect, Option } from "effect"
import * as AiError from "effect/ai/AiError"
import * as EmbeddingModel from "effect/ai/EmbeddingModel"
import type { Options } from "../../ai/EmbeddingModel.ts"
import { Embeddings, type Endpoint } from "../../ModelServing.ts"
import * as Failure from "./failure.ts"
import type { RunsAs } from "./runsAs.ts"
import * as Telemetry from "./telemetry.ts"

/** Makes the model. It reads the caller when a call runs, and a batch has the texts of one caller. */
export const make = (
  endpoint: Endpoint,
  options: Options,
  runsAs: RunsAs
): Effect.Effect<EmbeddingModel.EmbeddingModel> => {
  const { config = {}, dimensions, maxBatchSize = 150, retry, timeout } = options
  const invoke = endpoint.invoke(Embeddings, { timeout, retry })
  const place: Failure.Place = { module: "DatabricksEmbeddingModel", method: "embedMany", endpoint: endpoint.name }

  const embedBatch = (input: ReadonlyArray<string>) =>
    runsAs.effect(invoke({ ...config, input })).pipe(
      Effect.mapError((error) => Failure.of(error, place)),
      Effect.flatMap((response) => {
        const wrong = wrongIn(response.data, input.length, dimensions)
        return wrong === undefined
          ? Effect.succeed(response)
          : Effect.fail(
              Failure.make(place, new AiError.InvalidResponseError({ description: `"${endpoint.name}" ${wrong}` }))
            )
      })
    )

  return EmbeddingModel.make({
    batchKey: runsAs.key,
    embedMany: Effect.fnUntraced(function* ({ inputs }) {
      const responses = yield* Effect.forEach(Arr.chunksOf(inputs, maxBatchSize), embedBatch)
      const counts = responses.map(({ usage }) => usage?.prompt_tokens ?? undefined)
      const inputTokens = counts.some((count) => count === undefined)
        ? undefined
        : counts.reduce((sum: number, count) => sum + (count ?? 0), 0)
      const span = Option.getOrUndefined(yield* Effect.option(Effect.currentSpan))
      if (span !== undefined) {
        Telemetry.request(span, endpoint.name, "embeddings", config)
        Telemetry.response(span, { model: responses[0]?.model, usage: { prompt_tokens: inputTokens } })
      }
      const results = responses.flatMap(({ data }) =>
        data.toSorted((a, b) => a.index - b.index).map(({ embedding }) => Array.from(embedding))
      )
      return { results, usage: { inputTokens } }
    })
  })
}

/** Describes the fault of a response: a vector must not be taken for that of another text. */
const wrongIn = (
  data: (typeof Embeddings.Type)["data"],
  count: number,
  dimensions: number | undefined
): string | undefined => {
  if (data.length !== count) return `returned ${data.length} vectors for ${count} texts`
  const indexes = new Set(data.map(({ index }) => index))
  const missing = Array.from({ length: count }, (_, index) => index).find((index) => !indexes.has(index))
  if (missing !== undefined) return `returned no vector for the text ${missing} of ${count}, or two for another`
  const odd = data.find(({ embedding }) => dimensions !== undefined && embedding.length !== dimensions)
  return (
    odd && `returned a vector of ${odd.embedding.length} numbers: the model was made with dimensions: ${dimensions}`
  )
}
