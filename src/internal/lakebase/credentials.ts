/** The passwords with which callers log in: short-lived tokens that the workspace mints for an endpoint. */
import { Clock, DateTime, Duration, Effect, Exit, Redacted, Schedule, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import * as Caller from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import { runAs } from "../../ExecutionContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
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

/** Asks again, no sooner than the workspace says, while there is time left for another answer. */
const inTime = (end: number) =>
  Schedule.exponential("200 millis").pipe(
    Schedule.setInputType<DatabricksError>(),
    Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, maxDelay))),
    Schedule.jittered,
    Schedule.modifyDelay(({ duration, input }) =>
      Effect.succeed(Duration.max(duration, input.retryAfter ?? Duration.zero))
    ),
    Schedule.while(({ duration, now }) => now + Duration.toMillis(duration) < end)
  )

const maxDelay = Duration.seconds(5)

/** Tokens for one endpoint; `patience` is how long one is waited for, further attempts and their delays included. */
export const make = Effect.fnUntraced(function* (
  send: WorkspaceClient["Service"]["send"],
  endpoint: string,
  patience: Duration.Duration
): Effect.fn.Return<Credentials> {
  const request = HttpClientRequest.post(path).pipe(HttpClientRequest.bodyJsonUnsafe({ endpoint }))
  const tokens = yield* TokenCache.make<Minted, DatabricksError>({
    capacity: 1_000,
    timeToLive: (exit) => (Exit.isSuccess(exit) ? Duration.subtract(exit.value.timeToLive, margin) : Duration.zero)
  })
  const mint = Effect.fnUntraced(function* (caller: Caller.Caller): Effect.fn.Return<Minted, DatabricksError> {
    const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(patience)
    const { token, expire_time } = yield* Effect.flatMap(runAs(send(request), caller), decode).pipe(
      Effect.retry({ schedule: inTime(end), while: (error) => error.isRetryable }),
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
