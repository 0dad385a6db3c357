/** The caller of a model's request: that of the fiber, or always its user. It is read when a call runs. */
import { Context, Effect, Stream } from "effect"
import { identity } from "effect/Function"
import * as Caller from "../../Caller.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import { UserContext } from "../../UserContext.ts"

export interface RunsAs {
  readonly effect: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly stream: <A, E, R>(stream: Stream.Stream<A, E, R>) => Stream.Stream<A, E, R>
  /** Requests share a batch only if their keys are equal. */
  readonly key: (context: Context.Context<never>) => string
}

const keyOf = (caller: Caller.Caller | undefined) => (caller === undefined ? "" : Caller.key(caller))

/** The caller of the fiber. */
export const fiber: RunsAs = {
  effect: identity,
  stream: identity,
  key: (context) => keyOf(Context.get(context, ExecutionContext.ExecutionContext))
}

/**
 * The user of the fiber, also inside `asService`. A Layer's type requires a user when it is provided; the model that it
 * built may still reach a fiber without one.
 */
export const user: RunsAs = {
  effect: (effect) => Effect.flatMap(current, (caller) => ExecutionContext.runAs(effect, caller)),
  stream: (stream) =>
    Stream.unwrap(
      Effect.map(current, (caller) => Stream.provideService(stream, ExecutionContext.ExecutionContext, caller))
    ),
  key: (context) => keyOf(Context.getOrUndefined(context, UserContext))
}

const current = Effect.contextWith((context: Context.Context<never>) => {
  const caller = Context.getOrUndefined(context, UserContext)
  return caller === undefined
    ? Effect.die(
        new Error("The model of a user is used outside of a user's call: provide it inside asUser, or use `model`")
      )
    : Effect.succeed(caller)
})
