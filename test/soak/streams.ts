/** One stream of a user, checked against every promise that a stream can break. */
import { Duration, Effect, Option, Schema, Stream } from "effect"
import { Sse } from "effect/encoding"
import type { HttpClientError, HttpClientRequest } from "effect/http"
import { heartbeat } from "./Api.ts"
import { type Outcome, type Promised, Soak } from "./journal.ts"
import { grace, isKnown, judge, proof, sent, tagOf, type Visit } from "./requests.ts"

interface Following<A> {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly schema: Schema.Codec<A, unknown>
  /** Looks at the data of an event. */
  readonly each: (data: A, raw: string) => void
  /** Whether these events are all of the stream. */
  readonly isWhole: (events: number) => boolean
  /** The promise that a stream breaks which ends early and does not say so. */
  readonly promise?: Promised
  /** Of a slow client: the milliseconds after each piece. */
  readonly pause?: number
}

const codes = ["TEMPORARY_UNAVAILABLE", "TIMEOUT", "UPSTREAM_ERROR"]
const Code = Schema.fromJsonString(Schema.Struct({ code: Schema.String, error: Schema.String }))

/** Follows a stream to its end. Returns the outcome and the number of events. */
export const follow = Effect.fnUntraced(function* <A>(visit: Visit, following: Following<A>) {
  const { each, isWhole, pause = 0, promise = "streams", request, schema } = following
  const { kind, leaves, token, user } = visit
  const { journal } = yield* Soak
  const startedAt = performance.now()
  const what = `${kind} of ${user.name}`
  const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.toCodecJson(schema)))
  let events = 0
  let error: typeof Code.Type | undefined
  const parser = Sse.makeParser((event) => {
    if (event._tag !== "Event") return
    if (event.event === "error")
      return void (error = Option.getOrUndefined(Schema.decodeUnknownOption(Code)(event.data)))
    events++
    journal.holds("streams", event.id === String(events), () => `${what}: event ${event.id} in place of ${events}`)
    const data = decode(event.data)
    journal.holds(promise, Option.isSome(data), () => `${what}: ${event.data}`)
    if (Option.isSome(data)) each(data.value, event.data)
  })
  const within = Duration.toMillis(heartbeat) + Duration.toMillis(grace)
  const silent = isKnown(token, within) ? within : within + Duration.toMillis(proof)
  journal.began(kind)
  const outcome = yield* sent(request, token).pipe(
    Effect.flatMap((response): Effect.Effect<Outcome, HttpClientError.HttpClientError> => {
      if (response.status !== 200) {
        return Effect.map(response.text, (text) => {
          journal.said(`${response.status} ${tagOf(text)}`)
          return judge(visit, { status: response.status, text }, journal)
        })
      }
      return response.stream.pipe(
        Stream.decodeText(),
        Stream.timeoutOrElse({
          duration: silent,
          orElse: () =>
            Stream.fromEffect(
              Effect.sync(() => {
                journal.breaks("streams", `${what} was silent for ${silent} ms`)
                return ""
              })
            )
        }),
        Stream.runForEach((text) =>
          Effect.andThen(
            Effect.sync(() => parser.feed(text)),
            pause === 0 ? Effect.void : Effect.sleep(pause)
          )
        ),
        Effect.as("succeeded")
      )
    }),
    Effect.timeoutOrElse({ duration: leaves ?? "1 minute", orElse: () => Effect.succeed<Outcome>("left") }),
    Effect.catchTag("HttpClientError", (error) => {
      // An application that stops cuts its streams.
      journal.holds(
        "answered",
        journal.stoppedAt !== undefined,
        () => `${what}: ${String(error.reason.cause ?? error.message)}`
      )
      return Effect.succeed<Outcome>("unanswered")
    })
  )
  const ended: Outcome = error === undefined ? outcome : "unavailable"
  if (error !== undefined) {
    const { code } = error
    journal.said(`200 ${code}`)
    const isExpected = codes.includes(code) || (code === "STREAM_FORBIDDEN" && Date.now() >= token.expiresAt)
    journal.holds(promise, isExpected || journal.stoppedAt !== undefined, () => `${what}: ${JSON.stringify(error)}`)
  } else if (outcome === "succeeded") {
    journal.said("200")
    token.proven = true
    journal.holds(promise, isWhole(events), () => `${what} ended after ${events} events, and did not say why`)
  }
  journal.ended(kind, ended, performance.now() - startedAt)
  return { outcome: ended, events }
})
