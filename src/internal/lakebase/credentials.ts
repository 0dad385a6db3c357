/** The passwords of callers: short-lived tokens that the workspace issues for an endpoint. */
import { Cause, Clock, DateTime, Duration, Effect, Exit, Redacted, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import type * as Caller from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import { runAs } from "../../ExecutionContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Answer from "../workspace/answer.ts"
import * as Refusal from "../workspace/refusal.ts"
import * as Retry from "../workspace/retry.ts"
import * as TokenCache from "../workspace/tokenCache.ts"
import { json, maxShortAnswer } from "../workspace/transport.ts"
import { keyOf } from "./key.ts"
import * as Metrics from "./metrics.ts"

export interface Credentials {
  /** Returns a token that is valid for at least 2 minutes. Concurrent calls of one caller share one request. */
  readonly token: (caller: Caller.Caller) => Effect.Effect<Redacted.Redacted, DatabricksError>
  /** Forgets a refused token, unless it has already been replaced. */
  readonly drop: (caller: Caller.Caller, refused: Redacted.Redacted) => Effect.Effect<void>
}

const margin = Duration.minutes(2)

/** The longest lifetime of a token, in case this system's clock is wrong. */
const longest = Duration.hours(1)

// Other characters cannot be sent as a password.
const Token = Schema.String.check(Schema.isPattern(/^[\x21-\x7e]+$/))

const decode = json(Schema.Struct({ token: Token, expire_time: Schema.DateTimeUtcFromString }), maxShortAnswer)

const path = "/api/2.0/postgres/credentials"

/** Makes the tokens of one endpoint; `patience` limits the wait for one, including retries and their delays. */
export const make = Effect.fnUntraced(function* (
  send: WorkspaceClient["Service"]["send"],
  endpoint: string,
  patience: Duration.Duration
): Effect.fn.Return<Credentials> {
  const request = HttpClientRequest.post(path).pipe(HttpClientRequest.bodyJsonUnsafe({ endpoint }))
  const tokens = yield* TokenCache.make<Minted, Failed>({
    capacity: 1_000,
    timeToLive: (exit) => (Exit.isSuccess(exit) ? Duration.subtract(exit.value.timeToLive, margin) : Duration.zero)
  })
  const mint = Effect.fnUntraced(function* (caller: Caller.Caller): Effect.fn.Return<Minted, DatabricksError> {
    // Issuing a token twice does no harm.
    const { token, expire_time } = yield* Effect.flatMap(runAs(send(request), caller), decode).pipe(
      Retry.inTime(patience, Retry.patiently(patience), () => Answer.connection(`POST ${path}`, "timeout")),
      (_) => Metrics.timed(() => _, Metrics.tokenRefreshDuration, caller.context)
    )
    const now = yield* Clock.currentTimeMillis
    return {
      token: Redacted.make(token),
      timeToLive: Duration.min(Duration.millis(Math.max(0, DateTime.toEpochMillis(expire_time) - now)), longest)
    }
  }, Effect.withSpan("lakebase.token.refresh"))
  const token = (caller: Caller.Caller): Effect.Effect<Redacted.Redacted, DatabricksError> =>
    tokens
      .get(
        keyOf(caller),
        Effect.mapError(mint(caller), (error) => ({ error, asker: caller }))
      )
      .pipe(
        Effect.map((_) => _.token),
        // Calls of one user share one request, which may have used an older token than this call's.
        Effect.catch(({ asker, error }) =>
          Refusal.isOfToken(Cause.fail(error))
            ? Effect.flatMap(Refusal.differs(asker, caller), (isOther) =>
                isOther ? token(caller) : Effect.fail(error)
              )
            : Effect.fail(error)
        )
      )
  return {
    token,
    drop: (caller, refused) => tokens.invalidateWhen(keyOf(caller), ({ token }) => token === refused)
  }
})

interface Failed {
  readonly error: DatabricksError
  readonly asker: Caller.Caller
}

interface Minted {
  readonly token: Redacted.Redacted
  readonly timeToLive: Duration.Duration
}
