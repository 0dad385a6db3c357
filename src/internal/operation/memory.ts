/** A store in memory, bounded by entries and by an estimate of their bytes. */
import { Clock, Duration, Effect } from "effect"
import type { Key, Store } from "../../OperationCache.ts"
import * as Lru from "./lru.ts"
import { matches } from "./key.ts"
import { weigh } from "./weigh.ts"

export interface Options {
  /** 1,000 unless given. */
  readonly maxEntries?: number | undefined
  /** By an estimate of what keys and values take in memory: 64 MiB unless given. What is larger alone is not kept. */
  readonly maxBytes?: number | undefined
}

// What an entry takes beside its text and its value, as measured.
export const entryBytes = 600

// No literal, as in `lru.ts`.
class Kept {
  readonly key: Key
  readonly value: unknown
  constructor(key: Key, value: unknown) {
    this.key = key
    this.value = value
  }
}

export const make = ({ maxBytes = 64 * 2 ** 20, maxEntries = 1_000 }: Options): Effect.Effect<Store> =>
  Effect.map(Clock.Clock, (clock) => {
    const entries = Lru.make<Kept>({ maxBytes, maxEntries })
    return {
      get: ({ id }) => {
        const kept = entries.get(id, clock.currentTimeMillisUnsafe())
        return kept === undefined ? Effect.succeedNone : Effect.succeedSome(kept.value)
      },
      set: (key, value, timeToLive) => {
        entries.set(key.id, new Kept(key, value), {
          bytes: weigh(value, maxBytes) + 2 * key.id.length + entryBytes,
          expiresAt: clock.currentTimeMillisUnsafe() + Duration.toMillis(timeToLive)
        })
        return Effect.void
      },
      remove: (which) => Effect.sync(() => entries.removeWhere(({ key }) => matches(which, key)))
    }
  })
