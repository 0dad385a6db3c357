/**
 * Keeps what has not expired, bounded by entries and by their bytes: the least recently used give way to what is new.
 * Times are in milliseconds, by the clock of whoever asks.
 */

// No literal: where most of a literal's objects live long, V8 makes all of them old, and what they point to dies late.
class Entry<A> {
  readonly key: string
  readonly value: A
  readonly bytes: number
  readonly expiresAt: number
  // In the order of use. A Map has an order too, but leaves a hole for whatever is moved to its end.
  older: Entry<A> | undefined = undefined
  newer: Entry<A> | undefined = undefined
  constructor(key: string, value: A, bytes: number, expiresAt: number) {
    this.key = key
    this.value = value
    this.bytes = bytes
    this.expiresAt = expiresAt
  }
}

export const make = <A>({
  maxBytes = Infinity,
  maxEntries
}: {
  readonly maxBytes?: number
  readonly maxEntries: number
}) => {
  let entries = new Map<string, Entry<A>>()
  let added = 0
  let oldest: Entry<A> | undefined
  let newest: Entry<A> | undefined
  let total = 0

  const unlink = (entry: Entry<A>) => {
    if (entry.older === undefined) oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === undefined) newest = entry.older
    else entry.newer.older = entry.older
    // What is dead and old keeps what it points to until the whole heap is swept: here that would be all that followed.
    entry.older = entry.newer = undefined
  }

  const link = (entry: Entry<A>) => {
    entry.older = newest
    if (newest === undefined) oldest = entry
    else newest.newer = entry
    newest = entry
  }

  const remove = (entry: Entry<A>) => {
    entries.delete(entry.key)
    unlink(entry)
    total -= entry.bytes
  }

  const isOver = () => entries.size > maxEntries || total > maxBytes

  return {
    /** What is there at this time, which counts as use. */
    get: (key: string, now: number): A | undefined => {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (entry.expiresAt <= now) {
        remove(entry)
        return undefined
      }
      if (entry !== newest) {
        unlink(entry)
        link(entry)
      }
      return entry.value
    },
    /** Takes the place of what had this key; what is too large alone is not kept. */
    set: (key: string, value: A, { bytes = 0, expiresAt }: { readonly bytes?: number; readonly expiresAt: number }) => {
      const before = entries.get(key)
      if (before !== undefined) remove(before)
      if (bytes > maxBytes || maxEntries < 1) return
      const entry = new Entry(key, value, bytes, expiresAt)
      // A Map chains the tables that it outgrows, which keeps what is in them from dying young.
      if (++added % maxEntries === 0) entries = new Map(entries)
      entries.set(key, entry)
      link(entry)
      total += bytes
      for (let last = oldest; last !== undefined && isOver(); last = oldest) remove(last)
    },
    removeWhere: (predicate: (value: A) => boolean) => {
      for (const entry of entries.values()) if (predicate(entry.value)) remove(entry)
    }
  }
}
