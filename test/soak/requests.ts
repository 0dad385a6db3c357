/** One request, or one stream, of a user: held against every promise that a single answer can break. */
import { Duration, Effect, Option, Schema, Stream } from "effect"
import { Sse } from "effect/encoding"
import { HttpClient, type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { gracePeriod, heartbeat, Seen, timeout } from "./Api.ts"
import { type Journal, type Outcome, Soak } from "./journal.ts"
import type { Token, User } from "./tokens.ts"

/** As long as the workspace may take to prove a token. */
const proof = Duration.seconds(10)
/** A second in which a statement is stopped at the warehouse, and two for a busy machine. */
export const grace = Duration.seconds(3)
/** Whether the workspace will not be asked about this token for so long, in milliseconds. */
const isKnown = ({ expiresAt, proven }: Token, within: number) => proven && Date.now() + within < expiresAt
/** Whoever had been under way for so long, in milliseconds, had reached the application. */
const reached = 500

export interface Visit {
  readonly kind: string
  readonly user: User
  readonly token: Token
  /** After so many milliseconds the client leaves. */
  readonly leaves: number | undefined
}

type Answer =
  | { readonly _tag: "Answered"; readonly status: number; readonly text: string }
  | { readonly _tag: "Left" }
  | { readonly _tag: "Late" }
  | { readonly _tag: "Unanswered"; readonly why: string }

export const get = (path: string) => HttpClientRequest.get(path)

export const post = (path: string, body: unknown) =>
  HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(path), body)

const sent = Effect.fnUntraced(function* (request: HttpClientRequest.HttpClientRequest, token: Token) {
  const { origin } = yield* Soak
  return yield* HttpClient.execute(
    request.pipe(HttpClientRequest.prependUrl(origin), HttpClientRequest.setHeaders(token.headers))
  )
})

/**
 * As long as this, and as the machine keeps the users from running meanwhile: it keeps the application from running too,
 * and what it takes is nobody's.
 */
const asLongAs = (milliseconds: number): Effect.Effect<void, never, Soak> =>
  Effect.gen(function* () {
    const { journal } = yield* Soak
    const { heldUp } = journal
    yield* Effect.sleep(milliseconds)
    const lost = journal.heldUp - heldUp
    if (lost > 0) yield* asLongAs(lost)
  })

/** How long a client waits for its answer: until it leaves, or until that is overdue. */
const given = (leaves: number | undefined, bound: number): Effect.Effect<Answer, never, Soak> =>
  leaves === undefined
    ? Effect.as(asLongAs(bound), { _tag: "Late" })
    : Effect.as(Effect.sleep(leaves), { _tag: "Left" })

const whole = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.map(response.text, (text): Answer => ({ _tag: "Answered", status: response.status, text }))

const unanswered = (error: HttpClientError.HttpClientError): Answer => ({
  _tag: "Unanswered",
  why: String(error.reason.cause ?? error.message)
})

/** Sends it, and gives what was answered: nothing, where that was no success. */
export const ask = Effect.fnUntraced(function* (visit: Visit, request: HttpClientRequest.HttpClientRequest) {
  const { kind, leaves, token, user } = visit
  const { journal } = yield* Soak
  const within = Duration.toMillis(timeout) + Duration.toMillis(grace)
  const bound = isKnown(token, within) ? within : within + Duration.toMillis(proof)
  const startedAt = performance.now()
  const answer = yield* sent(request, token).pipe(
    Effect.flatMap(whole),
    Effect.raceFirst(given(leaves, bound)),
    Effect.catchTag("HttpClientError", (error) => Effect.succeed(unanswered(error)))
  )
  const took = performance.now() - startedAt
  const what = `${kind} of ${user.name}`
  const outcome = ((): Outcome => {
    switch (answer._tag) {
      case "Left":
        return "left"
      case "Late":
        journal.breaks("time", `${what} was not answered within ${bound} ms`)
        return "wrong"
      case "Unanswered":
        unexpectedly(journal.stoppedAt, startedAt, (promise) => journal.breaks(promise, `${what}: ${answer.why}`))
        return "unanswered"
      case "Answered":
        return judge(visit, answer, journal)
    }
  })()
  if (answer._tag === "Answered")
    journal.said(`${answer.status}${outcome === "succeeded" ? "" : ` ${tagOf(answer.text)}`}`)
  if (outcome === "succeeded") token.proven = true
  journal.ended(kind, outcome, took)
  return { outcome, answer }
})

/** A connection that ends without an answer: an application that stops may do so with those that it has not heard. */
const unexpectedly = (
  stoppedAt: number | undefined,
  startedAt: number,
  breaks: (promise: "answered" | "stopped") => void
) => {
  if (stoppedAt === undefined) breaks("answered")
  else if (startedAt < stoppedAt - reached) breaks("stopped")
}

const Failed = Schema.fromJsonString(Schema.Struct({ _tag: Schema.String, message: Schema.String }))

export const tagOf = (text: string) =>
  Option.match(Schema.decodeUnknownOption(Failed)(text), { onNone: () => "", onSome: ({ _tag }) => _tag })

const judge = (
  { kind, token, user }: Visit,
  { status, text }: { readonly status: number; readonly text: string },
  journal: Journal
): Outcome => {
  if (status === 200 || status === 201) return "succeeded"
  const how = () => `${kind} of ${user.name}: ${status} ${text}`
  if (status === 401) {
    journal.holds("identity", Date.now() >= token.expiresAt, how)
    return "refused"
  }
  if (status === 403) return "refused"
  if ([429, 502, 503, 504].includes(status) && tagOf(text) !== "") return "unavailable"
  // The warehouse of the local workspace stands on the same Postgres, and says so when that ends under a statement.
  if (status === 500 && tagOf(text) === "StatementFailedError") return "unavailable"
  // The workspace may take longer to prove a token than an application that stops has time: whoever waits is interrupted.
  if (status === 503 && performance.now() >= (journal.stoppedAt ?? Infinity) + Duration.toMillis(gracePeriod))
    return "unavailable"
  journal.breaks("answered", how())
  return "wrong"
}

/** What it should have answered, or undefined where it has failed. */
export const read = Effect.fnUntraced(function* <A>(
  visit: Visit,
  request: HttpClientRequest.HttpClientRequest,
  schema: Schema.Codec<A, unknown>
) {
  const { journal } = yield* Soak
  const { answer, outcome } = yield* ask(visit, request)
  if (outcome !== "succeeded" || answer._tag !== "Answered") return undefined
  const decoded = Schema.decodeUnknownOption(Schema.fromJsonString(schema))(answer.text)
  journal.holds("answered", Option.isSome(decoded), () => `${visit.kind}: ${answer.text}`)
  return Option.getOrUndefined(decoded)
})

const codes = ["TEMPORARY_UNAVAILABLE", "TIMEOUT", "UPSTREAM_ERROR"]
const Code = Schema.fromJsonString(Schema.Struct({ code: Schema.String, error: Schema.String }))
const Row = Schema.fromJsonString(Seen)

/** Follows a stream of so many events to its end, a slow client with a pause after each piece. */
export const follow = Effect.fnUntraced(function* (visit: Visit, path: string, due: number, pause: number) {
  const { kind, leaves, token, user } = visit
  const { journal } = yield* Soak
  const startedAt = performance.now()
  const what = `${kind} of ${user.name}`
  let events = 0
  let error: typeof Code.Type | undefined
  const parser = Sse.makeParser((event) => {
    if (event._tag !== "Event") return
    if (event.event === "error")
      return void (error = Option.getOrUndefined(Schema.decodeUnknownOption(Code)(event.data)))
    events++
    journal.holds("streams", event.id === String(events), () => `${what}: event ${event.id} in place of ${events}`)
    const row = Option.getOrUndefined(Schema.decodeUnknownOption(Row)(event.data))
    journal.holds("own", row?.caller === user.name, () => `${what}: ${event.data}`)
  })
  const within = Duration.toMillis(heartbeat) + Duration.toMillis(grace)
  const silent = isKnown(token, within) ? within : within + Duration.toMillis(proof)
  const outcome = yield* sent(get(path), token).pipe(
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
    journal.holds("streams", isExpected || journal.stoppedAt !== undefined, () => `${what}: ${JSON.stringify(error)}`)
  } else if (outcome === "succeeded") {
    journal.said("200")
    token.proven = true
    journal.holds(
      "streams",
      events === due,
      () => `${what} ended after ${events} of ${due} events, and did not say why`
    )
  }
  journal.ended(kind, ended, performance.now() - startedAt)
})
