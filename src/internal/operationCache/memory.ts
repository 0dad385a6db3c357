/** A store in memory, bounded by entries and by an estimate of their bytes. */
import { Clock, Duration, Effect, type Option } from "effect"
import type { Key, Store } from "../../OperationCache.ts"
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

interface Entry {
  readonly key: Key
  readonly found: Effect.Effect<Option.Option<unknown>>
  readonly bytes: number
  readonly expiresAt: number
  // In the order of use. A Map has an order too, but leaves a hole for whatever is moved to its end.
  older: Entry | undefined
  newer: Entry | undefined
}

export const make = ({ maxBytes = 64 * 2 ** 20, maxEntries = 1_000 }: Options): Effect.Effect<Store> =>
  Clock.clockWith((clock) =>
    Effect.sync(() => {
      const entries = new Map<string, Entry>()
      let oldest: Entry | undefined
      let newest: Entry | undefined
      let total = 0

      const unlink = (entry: Entry) => {
        if (entry.older === undefined) oldest = entry.newer
        else entry.older.newer = entry.newer
        if (entry.newer === undefined) newest = entry.older
        else entry.newer.older = entry.older
      }

      const link = (entry: Entry) => {
        entry.older = newest
        entry.newer = undefined
        if (newest === undefined) oldest = entry
        else newest.newer = entry
        newest = entry
      }

      const remove = (entry: Entry) => {
        entries.delete(entry.key.id)
        unlink(entry)
        total -= entry.bytes
      }

      const isOver = () => entries.size > maxEntries || total > maxBytes

      return {
        get: (key) => {
          const entry = entries.get(key.id)
          if (entry === undefined) return Effect.succeedNone
          if (entry.expiresAt <= clock.currentTimeMillisUnsafe()) {
            remove(entry)
            return Effect.succeedNone
          }
          if (entry !== newest) {
            unlink(entry)
            link(entry)
          }
          return entry.found
        },
        set: (key, value, timeToLive) => {
          const before = entries.get(key.id)
          if (before !== undefined) remove(before)
          const bytes = weigh(value, maxBytes) + 2 * key.id.length + entryBytes
          if (bytes > maxBytes || maxEntries < 1) return Effect.void
          const expiresAt = clock.currentTimeMillisUnsafe() + Duration.toMillis(timeToLive)
          const found = Effect.succeedSome(value)
          const entry: Entry = { key, found, bytes, expiresAt, older: undefined, newer: undefined }
          entries.set(key.id, entry)
          link(entry)
          total += bytes
          for (let last = oldest; last !== undefined && isOver(); last = oldest) remove(last)
          return Effect.void
        },
        remove: (which) =>
          Effect.sync(() => {
            for (const entry of entries.values()) if (matches(which, entry.key)) remove(entry)
          })
      }
    })
  )
