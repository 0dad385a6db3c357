/** The chunks of a model's stream: response → server-sent events → JSON → values of a Schema. */
import { Duration, Effect, Predicate, type Schema, Stream } from "effect"
import type * as Sse from "effect/encoding/Sse"
import type { HttpClientResponse } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { ModelStreamError, StreamOptions } from "../../ModelServing.ts"
import { OperationTimeoutError } from "../../Operation.ts"
import * as Pulls from "../pulls.ts"
import * as Answer from "../workspace/answer.ts"
import * as Transport from "../workspace/transport.ts"
import * as Events from "./events.ts"
import * as Json from "./json.ts"

type Response = HttpClientResponse.HttpClientResponse

export type Broken = (fields: ConstructorParameters<typeof ModelStreamError>[0]) => ModelStreamError

/** Returns the reader of the chunks of a response. */
export const make = <S extends Schema.Constraint>(
  schema: S,
  endpoint: string,
  broken: Broken,
  onStart: Effect.Effect<unknown> = Effect.void
) => {
  const decode = Json.decoder(schema)
  const parse = Json.parserOf(schema)
  return (response: Response): Stream.Stream<S["Type"], DatabricksError | ModelStreamError, S["DecodingServices"]> => {
    const type = response.headers["content-type"] ?? "content without a type"
    if (!/\btext\/event-stream\b/i.test(type)) return Stream.fromEffect(notEvents(response, type))
    return Stream.suspend(() => {
      let chunks = 0
      const failure: Events.Failure = (kind, what, answer) =>
        broken({
          endpoint,
          kind,
          chunks,
          message: `The stream of the serving endpoint "${endpoint}" broke after ${chunks} chunk${chunks === 1 ? "" : "s"}: ${what}`,
          status: answer?.status,
          errorCode: answer?.errorCode,
          retryAfter: answer?.retryAfter,
          requestId: answer?.requestId ?? response.headers["x-request-id"]
        })

      const chunkOf = ({ data, event }: Sse.Event) => {
        const json = parsed(parse, data)
        if (event === "error" || isError(json)) {
          const { reason } = errorOf(response, json ?? { message: data })
          return Effect.fail(failure("failed", reason.message, reason))
        }
        if (json === undefined) return Effect.fail(failure("invalid", "a chunk is not JSON"))
        return Effect.mapBothEager(decode(json, data), {
          onFailure: (what) => failure("invalid", `it sent ${what}`),
          onSuccess: (chunk) => {
            chunks++
            return chunk
          }
        })
      }

      return Pulls.mapTogether(Stream.onStart(Events.read(response, failure), onStart), { map: chunkOf }).pipe(
        Stream.onEnd(Effect.suspend(() => Effect.annotateCurrentSpan("serving.chunks", chunks)))
      )
    })
  }
}

const notEvents = (response: Response, type: string) =>
  Effect.andThen(
    Transport.released(response),
    Effect.fail(Transport.invalid(response, `${type.slice(0, 100)} in place of an event stream`))
  )

const parsed = (parse: (text: string) => unknown, text: string): unknown => {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}

// Models and gateways report an error inside a stream in several forms.
const isError = (json: unknown): json is Record<PropertyKey, unknown> =>
  Predicate.isObject(json) &&
  (Predicate.isObject(json["error"]) ||
    (typeof json["error"] === "string" && json["error"] !== "") ||
    typeof json["error_code"] === "string" ||
    json["type"] === "error")

/** Returns the error of a response that had this one in place of its 200. */
const errorOf = (response: Response, json: unknown) =>
  Answer.fromAnswer(
    { endpoint: "it", status: statusOf(json), headers: response.headers, body: JSON.stringify(json) },
    Answer.redactorOf(response)
  )

const statusOf = (json: unknown): number => {
  const error = Predicate.isObject(json) && Predicate.isObject(json["error"]) ? json["error"] : json
  const statuses = Predicate.isObject(error) ? [error["status"], error["status_code"], error["code"]] : []
  const found = statuses.map(Number).find((status) => Number.isInteger(status) && status >= 400 && status <= 599)
  return found ?? 500
}

/** Fails a stream whose first chunk, or whose next one, does not arrive in time. */
export const limited = (endpoint: string, options: StreamOptions) => {
  const first = Duration.fromInputUnsafe(options.timeout ?? defaultTimeout)
  const next = Duration.fromInputUnsafe(options.idleTimeout ?? defaultTimeout)
  return <A, E, R>(stream: Stream.Stream<A, E, R>): Stream.Stream<A, E | OperationTimeoutError, R> =>
    Stream.suspend(() => {
      let duration = first
      let which = "first"
      const watched = Pulls.watch<A, E, R, never, OperationTimeoutError>(stream, {
        within: () => Duration.toMillis(duration),
        late: Effect.suspend(() => Effect.fail(late(endpoint, which, duration)))
      })
      return Stream.mapArray(watched, (chunks) => {
        duration = next
        which = "further"
        return chunks
      })
    })
}

// Databricks ends a request after 297 seconds, and the HTTP client waits for bytes without end.
const defaultTimeout = Duration.minutes(5)

const late = (endpoint: string, which: string, duration: Duration.Duration) =>
  new OperationTimeoutError({
    operation: "serving.stream",
    message: `serving.stream got no ${which} chunk within ${Duration.format(duration)} from the serving endpoint "${endpoint}"`
  })
