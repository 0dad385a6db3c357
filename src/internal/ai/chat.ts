/** A chat model over a serving endpoint: prompt → body → request → parts. */
import { Effect, Schema, Stream, Tracer } from "effect"
import * as AiError from "effect/ai/AiError"
import { IdGenerator } from "effect/ai/IdGenerator"
import * as LanguageModel from "effect/ai/LanguageModel"
import type { Response } from "effect/ai"
import type { Config, Options } from "../../ai/LanguageModel.ts"
import * as ChatCompletion from "../../ChatCompletion.ts"
import type { Endpoint } from "../../ModelServing.ts"
import * as Json from "../serving/json.ts"
import * as Failure from "./failure.ts"
import { transformer as transformerOf } from "./jsonSchema.ts"
import * as Reader from "./reader.ts"
import * as Request from "./request.ts"
import type { RunsAs } from "./runsAs.ts"
import * as Telemetry from "./telemetry.ts"

export interface Made {
  readonly endpoint: Endpoint
  /** The configuration of the running call. */
  readonly config: Effect.Effect<Config>
  readonly options: Options & { readonly codecTransformer: LanguageModel.CodecTransformer }
  readonly runsAs: RunsAs
}

/** Makes the model. It reads configuration and caller when a call runs. */
export const make = ({ config, endpoint, options, runsAs }: Made): Effect.Effect<LanguageModel.LanguageModel> => {
  const { codecTransformer, idleTimeout, retry, timeout } = options
  const transformer = transformerOf(codecTransformer)
  const invoke = endpoint.invoke(Completion, { timeout, retry })
  const stream = endpoint.stream(ChatCompletion.Chunk, { timeout, idleTimeout, retry })
  const placeOf = (method: string): Failure.Place => ({
    module: "DatabricksLanguageModel",
    method,
    endpoint: endpoint.name
  })

  /** The body of a request and the reader of its response. */
  const prepared = Effect.fnUntraced(function* (request: LanguageModel.ProviderOptions) {
    const given = yield* config
    Telemetry.request(request.span, endpoint.name, "chat", given)
    const body = yield* Request.of(request, given, transformer)
    const newId = yield* IdGenerator.use((_) => _.generateId())
    return { body, reader: Reader.make(request, transformer, newId) }
  })

  const generateText = (request: LanguageModel.ProviderOptions) => {
    const place = placeOf("generateText")
    return Effect.gen(function* () {
      const { body, reader } = yield* prepared(request)
      const { choices, ...about } = yield* Effect.mapError(runsAs.effect(invoke(body)), (error) =>
        Failure.of(error, place)
      )
      const choice = choices.find(({ index }) => index === 0)
      if (choice === undefined) {
        return yield* Effect.fail(new AiError.InvalidResponseError({ description: "The response has no choice" }))
      }
      const { finish_reason, message } = choice
      const tool_calls = message.tool_calls?.map((call, index) => ({ ...call, index }))
      const delta = { ...message, tool_calls }
      const read = yield* reader.read({ ...about, choices: [{ index: 0, delta, finish_reason }] })
      Telemetry.response(request.span, reader.about())
      const parts = Reader.whole([...read, ...(yield* reader.end)])
      if (request.responseFormat.type === "json") yield* wholeObject(parts)
      return parts
    }).pipe(Effect.mapError((error) => (AiError.isAiError(error) ? error : Failure.make(place, error))))
  }

  const streamText = (request: LanguageModel.ProviderOptions) => {
    const place = placeOf("streamText")
    return Stream.unwrap(
      Effect.map(prepared(request), ({ body, reader }) => {
        const chunks = Stream.mapError(runsAs.stream(stream({ ...usage, ...body })), (error) =>
          Failure.of(error, place, reader.hasBegun())
        )
        const end = Effect.tap(reader.end, () => Effect.sync(() => Telemetry.response(request.span, reader.about())))
        return Stream.concat(Stream.mapEffect(chunks, reader.read), Stream.fromEffect(end))
      })
    ).pipe(
      Stream.flattenIterable,
      Stream.mapError((error) => (AiError.isAiError(error) ? error : Failure.make(place, error))),
      // The framework's span of a stream is the parent of nothing by itself.
      Stream.provideService(Tracer.ParentSpan, request.span)
    )
  }

  return LanguageModel.make({ codecTransformer: transformer, generateText, streamText })
}

// A message is read as a delta: its tool calls may lack an id or arguments.
const { delta: message, ...choice } = ChatCompletion.Chunk.fields.choices.value.fields
const Completion = Schema.Struct({
  ...ChatCompletion.Chunk.fields,
  choices: Schema.Array(Schema.Struct({ ...choice, message }))
})

// Without it most endpoints report no tokens in a stream.
const usage = { stream_options: { include_usage: true } }

/** Fails if the text is not the whole object that was asked for, or would be rounded, with the reason. */
const wholeObject = (parts: ReadonlyArray<Response.PartEncoded>) => {
  const responseText = parts.map((part) => (part.type === "text" ? part.text : "")).join("")
  const reason = parts.find((part) => part.type === "finish")?.reason
  if (reason === "content-filter") {
    const description = responseText === "" ? "The endpoint's filter ended the response" : responseText
    return Effect.fail(new AiError.ContentPolicyError({ description }))
  }
  const rounded = Json.roundedIn(responseText)
  const description =
    reason === "length"
      ? "The response ended at the limit of tokens before the object was complete: raise max_tokens"
      : rounded !== undefined
        ? `The integer ${rounded} would be rounded: declare its field as Schema.String or Schema.BigInt`
        : undefined
  return description === undefined
    ? Effect.void
    : Effect.fail(new AiError.StructuredOutputError({ description, responseText }))
}
