/** The passwords with which callers log in: short-lived tokens that the workspace mints for an endpoint. */
import { Clock, DateTime, Duration, Effect, Exit, Random, Redacted, Schema } from "effect"
import { HttpClientRequest, type HttpClientResponse } from "effect/http"
import * as Caller from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import * as Answer from "../workspace/answer.ts"
import * as TokenCache from "../workspace/tokenCache.ts"
import { json, maxShortAnswer } from "../workspace/transport.ts"
import * as Metrics from "./metrics.ts"

export interface Credentials {
  /** A token that is good for 2 minutes at least; fetched once at a time per caller. */
  readonly token: (caller: Caller.Caller) => Effect.Effect<Redacted.Redacted, DatabricksError>
  /** Forgets a token that was refused, unless another has taken its place. */
  readonly drop: (caller: Caller.Caller, refused: Redacted.Redacted) => Effect.Effect<void>
}

const margin = Duration.minutes(2)

// Nothing else can be sent as a password.
const Token = Schema.String.check(Schema.isPattern(/^[\x21-\x7e]+$/))

const decode = json(Schema.Struct({ token: Token, expire_time: Schema.DateTimeUtcFromString }), maxShortAnswer)

const path = "/api/2.0/postgres/credentials"

const maxDelay = 5_000

/** Asks again, as late as it is told to, while there is time left for another answer. */
const asked = <A>(
  mint: Effect.Effect<A, DatabricksError>,
  until: number,
  delay = 200
): Effect.Effect<A, DatabricksError> =>
  Effect.catchIf(
    mint,
    (error) => error.isRetryable,
    Effect.fnUntraced(function* (error): Effect.fn.Return<A, DatabricksError> {
      const wait = Duration.max(
        Duration.millis(delay * (yield* Random.nextBetween(0.8, 1.2))),
        error.retryAfter ?? Duration.zero
      )
      if ((yield* Clock.currentTimeMillis) + Duration.toMillis(wait) >= until) return yield* error
      return yield* Effect.delay(asked(mint, until, Math.min(2 * delay, maxDelay)), wait)
    })
  )

/** Tokens for one endpoint; `patience` is how long one is waited for, further attempts and their delays included. */
export const make = Effect.fnUntraced(function* (
  send: (
    caller: Caller.Caller,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>,
  endpoint: string,
  patience: Duration.Duration
): Effect.fn.Return<Credentials> {
  const request = HttpClientRequest.post(path).pipe(HttpClientRequest.bodyJsonUnsafe({ endpoint }))
  const tokens = yield* TokenCache.make<Minted, DatabricksError>({
    capacity: 1_000,
    timeToLive: (exit) => (Exit.isSuccess(exit) ? Duration.subtract(exit.value.timeToLive, margin) : Duration.zero)
  })
  const mint = Effect.fnUntraced(function* (caller: Caller.Caller): Effect.fn.Return<Minted, DatabricksError> {
    const until = (yield* Clock.currentTimeMillis) + Duration.toMillis(patience)
    const { token, expire_time } = yield* asked(Effect.flatMap(send(caller, request), decode), until).pipe(
      Effect.timeoutOrElse({
        duration: patience,
        orElse: () => Effect.fail(Answer.connection(`POST ${path}`, "timeout"))
      }),
      (_) => Metrics.timed(_, Metrics.tokenRefreshDuration, caller.context)
    )
    const now = yield* Clock.currentTimeMillis
    return {
      token: Redacted.make(token),
      timeToLive: Duration.millis(Math.max(0, DateTime.toEpochMillis(expire_time) - now))
    }
  }, Effect.withSpan("lakebase.token.refresh"))
  return {
    token: (caller) => Effect.map(tokens.get(Caller.key(caller), mint(caller)), (_) => _.token),
    drop: (caller, refused) => tokens.invalidateWhen(Caller.key(caller), ({ token }) => token === refused)
  }
})

interface Minted {
  readonly token: Redacted.Redacted
  readonly timeToLive: Duration.Duration
}
