/** The server-sent events of a model's stream, up to its end mark `[DONE]`. */
import { Cause, Effect, Pull, Stream } from "effect"
import * as Sse from "effect/encoding/Sse"
import type { HttpClientError, HttpClientResponse } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { ModelStreamError } from "../../ModelServing.ts"
import * as Answer from "../workspace/answer.ts"

/** Makes the error of a stream that breaks; `answer` is an error that the endpoint has sent. */
export type Failure = (
  kind: ModelStreamError["kind"],
  what: string,
  answer?: DatabricksError["reason"]
) => ModelStreamError

/** Reads the events before the end mark. Fails if the stream ends without it. */
export const read = (
  response: HttpClientResponse.HttpClientResponse,
  failure: Failure
): Stream.Stream<Sse.Event, ModelStreamError> =>
  response.stream.pipe(
    Stream.mapError((error) => failure("cut", `the connection was lost${codeOf(error)}`)),
    Stream.mapAccumEffect(
      makeParser,
      (parser, bytes) =>
        Effect.map(
          Effect.mapError(parser.parse(bytes), (what) => failure("invalid", what)),
          (events) => [parser, events]
        ),
      { onHalt: ({ last }) => last() }
    ),
    (events) => untilMark(events, () => failure("cut", "it ended without [DONE]"))
  )

const codeOf = ({ reason: { cause } }: HttpClientError.HttpClientError) => {
  const code = Answer.codeOf(cause)
  return code === undefined ? "" : ` (${code})`
}

const makeParser = () => {
  const utf8 = new TextDecoder("utf-8", { fatal: true })
  let events: Array<Sse.Event> = []
  const sse = Sse.makeParser((event) => {
    if (event._tag === "Event") events.push(event)
  })
  const taken = () => {
    const all = events
    events = []
    return all
  }
  return {
    parse: (bytes: Uint8Array): Effect.Effect<ReadonlyArray<Sse.Event>, string> =>
      Effect.flatMap(
        Effect.try({
          try: () => utf8.decode(bytes, { stream: true }),
          catch: () => "it sent bytes that are not UTF-8"
        }),
        (text) => (sse.feed(text) === undefined ? Effect.succeed(taken()) : Effect.fail("a chunk exceeds 10 MiB"))
      ),
    /** The last event needs no blank line if it is the end mark. Any other may be half of one. */
    last: (): ReadonlyArray<Sse.Event> => {
      sse.feed("\n\n")
      return taken().filter(isMark)
    }
  }
}

const isMark = ({ data }: Sse.Event) => data.trim() === "[DONE]"

/** Ends a stream at its mark, and reads what follows, after which the connection can be used again. */
const untilMark = <E>(events: Stream.Stream<Sse.Event, E>, unmarked: () => E): Stream.Stream<Sse.Event, E> =>
  Stream.transformPull(events, (pull) =>
    Effect.sync(() => {
      let ended = false
      const rest = Effect.timeoutOption(Effect.ignore(Effect.forever(pull)), restTimeout)
      const next: typeof pull = Effect.suspend(() =>
        ended
          ? Effect.andThen(rest, Cause.done())
          : Effect.flatMap(
              Pull.catchDone(pull, () => Effect.fail(unmarked())),
              (some) => {
                const mark = some.findIndex(isMark)
                if (mark === -1) return Effect.succeed(some)
                ended = true
                const [first, ...others] = some.slice(0, mark)
                return first === undefined ? next : Effect.succeed([first, ...others] as const)
              }
            )
      )
      return next
    })
  )

const restTimeout = "1 second"
