/** A cache by token, whose entries outlive the call that looked them up. */
import { Cache, type Context, type Duration, Effect, type Exit, type Predicate } from "effect"
import * as SteadyClock from "../steadyClock.ts"

export interface TokenCache<A, E> {
  /** Returns the cached value, else runs `lookup` in the context of the first call, for all concurrent calls. */
  readonly get: (key: string, lookup: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly invalidateWhen: (key: string, predicate: Predicate.Predicate<A>) => Effect.Effect<boolean>
}

export const make = Effect.fnUntraced(function* <A, E>(options: {
  readonly capacity: number
  readonly timeToLive: (exit: Exit.Exit<A, E>) => Duration.Duration
}): Effect.fn.Return<TokenCache<A, E>> {
  const context = yield* SteadyClock.context
  const cache = yield* Cache.makeWith((_key: string): Effect.Effect<A, E> => Effect.never, options)
  return {
    // The cache retains the fiber of each lookup, and a fiber retains the spans of its parent. The fiber is therefore
    // forked in the cache's own context, and only the lookup, which is not retained, runs in the caller's.
    get: (key, lookup) =>
      Effect.contextWith((asker: Context.Context<never>) =>
        Effect.setContext(Cache.get({ ...cache, lookup: () => Effect.setContext(lookup, asker) }, key), context)
      ),
    invalidateWhen: (key, predicate) => Effect.setContext(Cache.invalidateWhen(cache, key, predicate), context)
  }
})
