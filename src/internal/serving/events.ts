/** The server-sent events of a model's stream, up to its end mark `[DONE]`. */
import { Cause, Effect, Pull, Stream } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
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
  Stream.transformPull(
    Stream.mapError(response.stream, (error) => failure("cut", `the connection was lost${codeOf(error)}`)),
    (pull) =>
      Effect.sync(() => {
        const parser = makeParser()
        let isAtMark = false
        let problem: string | undefined
        const bytes = Pull.catchDone(pull, (): Pull.Pull<never, ModelStreamError> =>
          parser.endsWithMark() ? Cause.done() : Effect.fail(failure("cut", "it ended without [DONE]"))
        )
        /** Reads what follows the mark, after which the connection can be used again. */
        const rest = Effect.timeoutOption(Effect.ignore(Effect.forever(pull)), restTimeout)
        const next = (): Pull.Pull<NonEmptyReadonlyArray<Sse.Event>, ModelStreamError> => {
          const events = parser.taken()
          const mark = events.findIndex(isMark)
          if (mark !== -1) isAtMark = true
          const [first, ...others] = mark === -1 ? events : events.slice(0, mark)
          if (first !== undefined) return Effect.succeed([first, ...others])
          if (isAtMark) return Effect.andThen(rest, Cause.done())
          if (problem !== undefined) return Effect.fail(failure("invalid", problem))
          return Effect.flatMap(bytes, (parts) => {
            for (let i = 0; i < parts.length && problem === undefined; i++) problem = parser.parse(parts[i]!)
            return next()
          })
        }
        return Effect.suspend(next)
      })
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
  const taken = (): ReadonlyArray<Sse.Event> => {
    const all = events
    events = []
    return all
  }
  return {
    taken,
    /** Returns what is wrong with the bytes. The events before that can be taken. */
    parse: (bytes: Uint8Array): string | undefined => {
      let text
      try {
        text = utf8.decode(bytes, { stream: true })
      } catch {
        return "it sent bytes that are not UTF-8"
      }
      return sse.feed(text) === undefined ? undefined : "a chunk exceeds 10 MiB"
    },
    /** The last event needs no blank line if it is the end mark. Any other may be half of one. */
    endsWithMark: (): boolean => {
      sse.feed("\n\n")
      return taken().some(isMark)
    }
  }
}

const isMark = ({ data }: Sse.Event) => data.trim() === "[DONE]"

const restTimeout = "1 second"
