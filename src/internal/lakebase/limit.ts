/** A limit that adapts to the server: after a refusal it stays at that number, and tries one more from time to time. */
export interface Limit {
  readonly max: number
  /** The number of connections that the server is known to allow. */
  allowed: number
  /** The time at which one more may be tried. */
  retryAt: number
}

/** The delay between two attempts, in milliseconds. Random, so that several pools do not synchronize. */
const pause = () => 125 + Math.random() * 250

export const make = (max: number): Limit => ({ max, allowed: max, retryAt: 0 })

/** Whether the server allows fewer than the limit. */
export const isShort = ({ allowed, max }: Limit) => allowed < max

export const mayTry = (limit: Limit, now: number) => isShort(limit) && now >= limit.retryAt

export const hasRoom = (limit: Limit, size: number, now: number) =>
  size < limit.allowed || (size < limit.max && mayTry(limit, now))

/** Records that a connection is opening; `size` includes it. */
export const take = (limit: Limit, size: number, now: number) => {
  if (size > limit.allowed) limit.retryAt = now + pause()
}

/** Records that a connection has opened (`size` includes it): the next may be tried at once. */
export const opened = (limit: Limit, size: number, now: number) => {
  if (size <= limit.allowed) return
  limit.allowed = Math.min(size, limit.max)
  limit.retryAt = now
}

/** Resets the limit if the server has refused nothing for this long. */
export const forget = (limit: Limit, now: number, after: number) => {
  if (now - limit.retryAt >= after) limit.allowed = limit.max
}

/** Records that the server refused a connection above this size. */
export const refused = (limit: Limit, size: number, now: number) => {
  limit.allowed = Math.min(limit.allowed, size)
  limit.retryAt = now + pause()
}
