/** The client of one user, which no other user's call may use. */
import { Context, Effect, Stream } from "effect"
import * as Caller from "../Caller.ts"
import { ExecutionContext, refused, runningAs } from "../ExecutionContext.ts"
import { UserContext } from "../UserContext.ts"
import { withContext } from "./streamContext.ts"

/**
 * Runs an effect as the user of the running call, and dies unless that is the owner of the client. A client that is
 * kept for another call would otherwise run as its first user.
 */
export const runAsOwner = <A, E, R>(effect: Effect.Effect<A, E, R>, owner: Caller.Caller): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<R>) => {
    const user = ownerIn(context, owner)
    return Effect.isEffect(user) ? user : Effect.setContext(effect, runningAs(context, user))
  })

/**
 * `runAsOwner` for a stream, from its first pull to its end.
 */
export const streamAsOwner = <A, E, R>(stream: Stream.Stream<A, E, R>, owner: Caller.Caller): Stream.Stream<A, E, R> =>
  Stream.unwrap(
    Effect.map(runAsOwner(ExecutionContext, owner), (caller) =>
      withContext(stream, (puller: Context.Context<R>) => Context.add(puller, ExecutionContext, caller))
    )
  )

/**
 * Returns a connector whose effects and streams, and those that its functions return, run with `runAsOwner`. `own` are
 * properties that do so by themselves.
 */
export const ownedBy = <A extends object>(connector: A, owner: Caller.Caller, own: Partial<A> = {}): A => {
  const bind = (value: unknown): unknown => {
    if (typeof value === "function") {
      return (...args: ReadonlyArray<unknown>) => bind(Reflect.apply(value, connector, args))
    }
    if (Effect.isEffect(value)) return runAsOwner(value, owner)
    return Stream.isStream(value) ? streamAsOwner(value, owner) : value
  }
  // A Proxy forgets no method, and has those of a class and of Layer.mock too.
  return new Proxy(connector, { get: (_, name) => Reflect.get(own, name) ?? bind(Reflect.get(connector, name)) })
}

/**
 * Returns the user of this context if it is the owner of a client, else a defect.
 */
export const ownerIn = (
  context: Context.Context<never>,
  owner: Caller.Caller
): Caller.Caller | Effect.Effect<never> => {
  const other = refused(context, owner)
  if (other !== undefined) return other
  const user = Context.getOrUndefined(context, UserContext)
  return user === owner || (user !== undefined && Caller.key(user) === Caller.key(owner))
    ? user
    : Effect.die(
        new Error(
          `The client of a user is used ${user === undefined ? "outside of that user's call" : "in another user's call"}: get it from its accessor "user" in the call that uses it, or pass the work on with ExecutionContext.bound`
        )
      )
}
