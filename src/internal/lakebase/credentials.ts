/** The passwords with which callers log in: short-lived tokens that the workspace mints for an endpoint. */
import { Cache, Clock, Context, DateTime, Duration, Effect, Exit, Redacted, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import { json, type Send } from "../workspaceHttp.ts"
import * as Metrics from "./metrics.ts"

export interface Credentials {
  /** A token that is good for 2 minutes at least; fetched once at a time per caller. */
  readonly token: (caller: Caller) => Effect.Effect<Redacted.Redacted, DatabricksError>
  /** Forgets a token that was refused. */
  readonly drop: (caller: Caller) => Effect.Effect<void>
}

const margin = Duration.minutes(2)

const decode = json(Schema.Struct({ token: Schema.NonEmptyString, expire_time: Schema.DateTimeUtcFromString }))

export const make = Effect.fnUntraced(function* (send: Send, endpoint: string): Effect.fn.Return<Credentials> {
  const request = HttpClientRequest.post("/api/2.0/postgres/credentials").pipe(
    HttpClientRequest.bodyJsonUnsafe({ endpoint })
  )
  const tokens = yield* Cache.makeWith(
    Effect.fnUntraced(function* (_key: string) {
      const caller = yield* Asking
      const { token, expire_time } = yield* Effect.flatMap(send(caller, request), decode).pipe((_) =>
        Metrics.timed(_, Metrics.tokenRefreshDuration, caller.context)
      )
      const now = yield* Clock.currentTimeMillis
      return {
        token: Redacted.make(token),
        timeToLive: Duration.millis(Math.max(0, DateTime.toEpochMillis(expire_time) - now))
      }
    }, Effect.withSpan("lakebase.token.refresh")),
    {
      capacity: 1_000,
      timeToLive: (exit) => (Exit.isSuccess(exit) ? Duration.subtract(exit.value.timeToLive, margin) : Duration.zero),
      requireServicesAt: "lookup"
    }
  )
  return {
    token: (caller) =>
      Cache.get(tokens, caller.scimId).pipe(
        Effect.map((_) => _.token),
        Effect.provideService(Asking, caller)
      ),
    drop: (caller) => Cache.invalidate(tokens, caller.scimId)
  }
})

class Asking extends Context.Service<Asking, Caller>()("effect-databricks/Lakebase/Asking") {}
