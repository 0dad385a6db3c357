/** One request of a user, checked against every promise that one response can break. */
import { Duration, Effect, Option, Schema, Stream } from "effect"
import { HttpClient, type HttpClientError, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { LocalWorkspace } from "effect-databricks/testing"
import { createHash } from "node:crypto"
import { gracePeriod, type Orders, timeout } from "./Api.ts"
import { type Journal, type Outcome, Soak } from "./journal.ts"
import type { Token, User } from "./tokens.ts"

/** As long as the workspace may take to prove a token. */
export const proof = Duration.seconds(10)
/** A second in which a statement is stopped at the warehouse, and two for a busy machine. */
export const grace = Duration.seconds(3)
/** Whether this token stays verified for this many milliseconds. */
export const isKnown = ({ expiresAt, proven }: Token, within: number) => proven && Date.now() + within < expiresAt
/** A request that is this many milliseconds old has reached the application. */
const reached = 500

export interface Visit {
  readonly kind: string
  readonly user: User
  readonly token: Token
  /** After so many milliseconds the client leaves. */
  readonly leaves: number | undefined
  /** Statuses that are right for this request, besides those of every request. */
  readonly also?: ReadonlyArray<number>
}

/** What a user does: `chance` is between 0 and 1. */
export type Do = (
  visit: Visit,
  chance: number
) => Effect.Effect<void, never, Soak | HttpClient.HttpClient | LocalWorkspace.LocalWorkspace>

export type Answer =
  | { readonly _tag: "Answered"; readonly status: number; readonly text: string }
  /** The body broke off. */
  | { readonly _tag: "Cut"; readonly status: number }
  | { readonly _tag: "Left" }
  | { readonly _tag: "Late" }
  | { readonly _tag: "Unanswered"; readonly why: string }

export const get = (path: string) => HttpClientRequest.get(path)

export const post = (path: string, body: unknown) =>
  HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(path), body)

export const sent = Effect.fnUntraced(function* (request: HttpClientRequest.HttpClientRequest, token: Token) {
  const { origin } = yield* Soak
  return yield* HttpClient.execute(
    request.pipe(HttpClientRequest.prependUrl(origin), HttpClientRequest.setHeaders(token.headers))
  )
})

/**
 * As long as this, and as the machine keeps the users from running meanwhile: it keeps the application from running too,
 * and what it takes is nobody's.
 */
export const asLongAs = (milliseconds: number): Effect.Effect<void, never, Soak> =>
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

/** The hash of a successful response, or the text of any other. */
export const hashed = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<Answer, HttpClientError.HttpClientError> => {
  const { status } = response
  if (status !== 200) return whole(response)
  const hash = createHash("sha256")
  return response.stream.pipe(
    Stream.runForEach((chunk) => Effect.sync(() => void hash.update(chunk))),
    Effect.map((): Answer => ({ _tag: "Answered", status, text: hash.digest("hex") })),
    Effect.orElseSucceed((): Answer => ({ _tag: "Cut", status }))
  )
}

const unanswered = (error: HttpClientError.HttpClientError): Answer => ({
  _tag: "Unanswered",
  why: String(error.reason.cause ?? error.message)
})

/** Sends a request, and reads its response. */
export const ask = Effect.fnUntraced(function* (
  visit: Visit,
  request: HttpClientRequest.HttpClientRequest,
  body: typeof whole = whole
) {
  const { kind, leaves, token, user } = visit
  const { journal } = yield* Soak
  const within = Duration.toMillis(timeout) + Duration.toMillis(grace)
  const bound = isKnown(token, within) ? within : within + Duration.toMillis(proof)
  const startedAt = performance.now()
  journal.began(kind)
  const answer = yield* sent(request, token).pipe(
    Effect.flatMap(body),
    Effect.raceFirst(given(leaves, bound)),
    Effect.catchTag("HttpClientError", (error) => Effect.succeed(unanswered(error)))
  )
  const took = performance.now() - startedAt
  const what = `${kind} of ${user.name}`
  if (answer._tag !== "Left")
    journal.holds("time", answer._tag !== "Late", () => `${what} was not answered within ${bound} ms`)
  const outcome = ((): Outcome => {
    switch (answer._tag) {
      case "Left":
        return "left"
      case "Cut":
        return "unavailable"
      case "Late":
        return "wrong"
      case "Unanswered":
        unexpectedly(journal.stoppedAt, startedAt, (promise) => journal.breaks(promise, `${what}: ${answer.why}`))
        return "unanswered"
      case "Answered":
        return judge(visit, answer, journal)
    }
  })()
  if (answer._tag === "Cut") journal.said(`${answer.status}, cut short`)
  if (answer._tag === "Answered")
    journal.said(`${answer.status}${outcome === "succeeded" ? "" : ` ${tagOf(answer.text)}`}`)
  if (outcome === "succeeded") token.proven = true
  journal.ended(kind, outcome, took)
  return { outcome, answer }
})

/** A connection that ends without an answer: an application that stops may do so with those that it has not heard. */
export const unexpectedly = (
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

export const judge = (
  { also = [], kind, token, user }: Visit,
  { status, text }: { readonly status: number; readonly text: string },
  journal: Journal
): Outcome => {
  journal.checks("answered")
  if (status === 200 || status === 201) return "succeeded"
  const how = () => `${kind} of ${user.name}: ${status} ${text}`
  if (status === 401) {
    journal.holds("identity", Date.now() >= token.expiresAt, how)
    return "refused"
  }
  if (status === 403 || also.includes(status)) return "refused"
  if ([429, 502, 503, 504].includes(status) && tagOf(text) !== "") return "unavailable"
  // The warehouse of the local workspace stands on the same Postgres, and says so when that ends under a statement.
  if (status === 500 && tagOf(text) === "StatementFailedError") return "unavailable"
  // Verifying a token may take longer than the grace period of a stopping application, which then interrupts the request.
  if (status === 503 && performance.now() >= (journal.stoppedAt ?? Infinity) + Duration.toMillis(gracePeriod))
    return "unavailable"
  journal.breaks("answered", how())
  return "wrong"
}

/** The data of the expected response, or `undefined` if the request failed. */
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

/** Checks that these are the user's own orders, and at least as many as were acknowledged before. */
export const showsOwn = (journal: Journal, { kind, user }: Visit, seen: typeof Orders.Type, due: number) => {
  const others = [seen.caller, ...seen.last.map(({ owner }) => owner)].filter((owner) => owner !== user.name)
  journal.holds("own", others.length === 0, () => `${kind} of ${user.name} shows ${others.join()}`)
  journal.holds("fresh", seen.total >= due, () => `${kind} of ${user.name}: ${seen.total} of ${due}`)
}
