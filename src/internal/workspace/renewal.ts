/** Replaces a token that the workspace refuses before it expires, once for all calls that were sent with it. */
import { Clock, Duration, Effect, Redacted } from "effect"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"

export interface Renewable extends Pick<Caller, "authorization"> {
  /** Forgets this value of `authorization`, unless it has already been replaced. */
  readonly forget: (refused: Redacted.Redacted) => Effect.Effect<unknown>
}

type Sent<A> = (authorization: Redacted.Redacted) => Effect.Effect<A, DatabricksError>

// An API may refuse any token: if a new token does not help, the next is requested after this pause.
const pause = Duration.toNanosUnsafe("10 seconds")

/** Sends with the credential of a caller. A refused request has not run, and is sent once more with a new token. */
export const make = ({ authorization, forget }: Renewable) => {
  let renewsFrom: bigint | undefined

  const renew = Effect.fnUntraced(function* <A>(refused: Redacted.Redacted, error: DatabricksError, again?: Sent<A>) {
    const now = yield* Clock.monotonicTimeNanos
    if (renewsFrom !== undefined && now < renewsFrom) return yield* error
    yield* forget(refused)
    if (again === undefined) return yield* error
    const renewed = yield* authorization
    // A personal access token, for example, cannot be renewed.
    const isSame = Redacted.value(renewed) === Redacted.value(refused)
    return yield* Effect.tapError(isSame ? Effect.fail(error) : again(renewed), (error) =>
      Effect.sync(() => {
        if (isRefusal(error)) renewsFrom = now + pause
      })
    )
  })

  return <A>(
    caller: Pick<Caller, "authorization">,
    send: Sent<A>,
    isRepeatable: boolean
  ): Effect.Effect<A, DatabricksError> =>
    Effect.flatMap(caller.authorization, (used) =>
      caller.authorization === authorization
        ? Effect.catchIf(send(used), isRefusal, (error) => renew(used, error, isRepeatable ? send : undefined))
        : send(used)
    )
}

const isRefusal = ({ reason }: DatabricksError) => reason._tag === "InvalidCredentialError"
