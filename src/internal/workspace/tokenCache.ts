/** Tokens, and what is known of them, which stay when whoever asked for them has long gone. */
import { Cache, type Context, type Duration, Effect, type Exit, type Predicate } from "effect"

export interface TokenCache<A, E> {
  /** What is known, or what `lookup` finds: in the context of whoever asks first, for all who ask until it has. */
  readonly get: (key: string, lookup: Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly invalidateWhen: (key: string, predicate: Predicate.Predicate<A>) => Effect.Effect<boolean>
}

export const make = Effect.fnUntraced(function* <A, E>(options: {
  readonly capacity: number
  readonly timeToLive: (exit: Exit.Exit<A, E>) => Duration.Duration
}): Effect.fn.Return<TokenCache<A, E>> {
  const context = yield* Effect.context<never>()
  const cache = yield* Cache.makeWith((_key: string): Effect.Effect<A, E> => Effect.never, options)
  return {
    // The cache keeps the fiber of each lookup, and a fiber the spans it was forked under, with all that they hold.
    // So it is forked in the cache's own context, and only what it runs, which is not kept, has the asker's.
    get: (key, lookup) =>
      Effect.contextWith((asker: Context.Context<never>) =>
        Effect.setContext(Cache.get({ ...cache, lookup: () => Effect.setContext(lookup, asker) }, key), context)
      ),
    invalidateWhen: (key, predicate) => Cache.invalidateWhen(cache, key, predicate)
  }
})
