/**
 * Failures of one call, because of its credential or the connections that it holds, that other calls must not share.
 */
import { Cause, Effect, Predicate, Redacted } from "effect"
import type { Caller } from "../../Caller.ts"

const tags = new Set<unknown>([
  "InvalidCredentialError",
  "MissingScopeError",
  "AuthenticationError",
  "IdentityMismatchError",
  "LoginError"
])

/** Whether a call failed because of its token, also if the application has wrapped the error. */
export const isOfToken = (cause: Cause.Cause<unknown>): boolean =>
  contains(cause, (error) => tags.has(error["_tag"]) || error["status"] === 401)

const ofHolders = new WeakSet<object>()

/** Marks the failure of a call that would wait for a connection which it holds itself. */
export const ofHolder = <E extends object>(error: E): E => {
  ofHolders.add(error)
  return error
}

/** Whether a call failed because of the connections that it holds. */
export const isOfHolder = (cause: Cause.Cause<unknown>): boolean => contains(cause, (error) => ofHolders.has(error))

type Test = (error: { readonly [name: PropertyKey]: unknown }) => boolean

const contains = (cause: Cause.Cause<unknown>, is: Test): boolean =>
  cause.reasons.some(
    (reason) =>
      (Cause.isFailReason(reason) && holds(reason.error, is)) || (Cause.isDieReason(reason) && holds(reason.defect, is))
  )

const holds = (error: unknown, is: Test, depth = 0): boolean =>
  Predicate.isObject(error) &&
  depth < 8 &&
  (is(error) || ["reason", "cause", "response"].some((name) => holds(error[name], is, depth + 1)))

/** Whether two users' calls have different tokens. The service principal's single credential refreshes itself. */
export const differs = (one: Caller | undefined, other: Caller | undefined): Effect.Effect<boolean> =>
  one === other || one?.context !== "user" || other?.context !== "user"
    ? Effect.succeed(false)
    : Effect.match(Effect.all([one.authorization, other.authorization]), {
        onFailure: () => false,
        onSuccess: ([one, other]) => Redacted.value(one) !== Redacted.value(other)
      })
