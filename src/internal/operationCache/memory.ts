/** A store in memory, bounded by entries and by an estimate of their bytes. */
import { Clock, Duration, Effect, Option } from "effect"
import type { Key, Store } from "../../OperationCache.ts"
import { weigh } from "./weigh.ts"

export interface Options {
  /** 1,000 unless given. */
  readonly maxEntries?: number | undefined
  /** By an estimate of what values take in memory: 64 MiB unless given. What is larger alone is not kept. */
  readonly maxBytes?: number | undefined
}

interface Entry {
  readonly key: Key
  readonly found: Option.Some<unknown>
  readonly bytes: number
  readonly expiresAt: number
}

export const make = ({ maxBytes = 64 * 2 ** 20, maxEntries = 1_000 }: Options): Effect.Effect<Store> =>
  Clock.clockWith((clock) =>
    Effect.sync(() => {
      /** The least recently used first. */
      const entries = new Map<string, Entry>()
      let total = 0

      const remove = (id: string) => {
        const entry = entries.get(id)
        if (entry === undefined) return
        entries.delete(id)
        total -= entry.bytes
      }

      return {
        get: (key) => {
          const id = idOf(key)
          const entry = entries.get(id)
          if (entry === undefined) return none
          if (entry.expiresAt <= clock.currentTimeMillisUnsafe()) {
            remove(id)
            return none
          }
          entries.delete(id)
          entries.set(id, entry)
          return Effect.succeed(entry.found)
        },
        set: (key, value, timeToLive) =>
          Effect.sync(() => {
            const id = idOf(key)
            remove(id)
            const bytes = weigh(value, maxBytes) + 2 * id.length
            if (bytes > maxBytes || maxEntries < 1) return
            const expiresAt = clock.currentTimeMillisUnsafe() + Duration.toMillis(timeToLive)
            entries.set(id, { key, found: Option.some(value) as Option.Some<unknown>, bytes, expiresAt })
            total += bytes
            for (const oldest of entries.keys()) {
              if (entries.size <= maxEntries && total <= maxBytes) break
              remove(oldest)
            }
          }),
        remove: ({ caller, operation }) =>
          Effect.sync(() => {
            for (const [id, { key }] of entries) {
              if ((caller ?? key.caller) === key.caller && (operation ?? key.operation) === key.operation) remove(id)
            }
          })
      }
    })
  )

// An operation is a list in brackets, which nothing that follows can be taken for a part of.
const idOf = ({ caller, operation }: Key) => operation + caller

const none = Effect.succeed(Option.none())
