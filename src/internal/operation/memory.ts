/** A store in memory, bounded by entries and by an estimate of their bytes. */
import { Clock, Duration, Effect } from "effect"
import type { Key, MemoryOptions, Store } from "../../OperationCache.ts"
import * as SteadyClock from "../steadyClock.ts"
import { matches } from "./key.ts"
import { sizeOf } from "./sizeOf.ts"

interface Entry {
  readonly key: Key
  readonly value: unknown
  readonly bytes: number
  readonly expiresAt: number
}

// The measured size of an entry without its key and value.
export const entryBytes = 600

export const make = ({ maxBytes = 64 * 2 ** 20, maxEntries = 1_000 }: MemoryOptions): Effect.Effect<Store> =>
  Effect.map(Clock.Clock, (clock) => {
    const now = SteadyClock.now(clock)
    // In order of use, the least recently used first.
    const entries = new Map<string, Entry>()
    let total = 0

    const add = (entry: Entry) => {
      entries.set(entry.key.id, entry)
      total += entry.bytes
    }
    const remove = (entry: Entry) => {
      entries.delete(entry.key.id)
      total -= entry.bytes
    }
    const evict = () => {
      for (const oldest of entries.values()) {
        if (entries.size <= maxEntries && total <= maxBytes) return
        remove(oldest)
      }
    }

    return {
      get: ({ id }) => {
        const entry = entries.get(id)
        if (entry === undefined) return Effect.succeedNone
        remove(entry)
        if (entry.expiresAt <= now()) return Effect.succeedNone
        add(entry)
        return Effect.succeedSome(entry.value)
      },
      set: (key, value, timeToLive) => {
        const bytes = sizeOf(value, maxBytes) + 2 * key.id.length + entryBytes
        const before = entries.get(key.id)
        if (before !== undefined) remove(before)
        // A value that is too large for the whole store evicts nothing.
        if (bytes > maxBytes) return Effect.void
        add({ key, value, bytes, expiresAt: now() + Duration.toMillis(timeToLive) })
        evict()
        return Effect.void
      },
      remove: (which) =>
        Effect.sync(() => {
          for (const entry of entries.values()) if (matches(which, entry.key)) remove(entry)
        })
    }
  })
