/** Detects deadlocks among calls that hold connections while they wait for others. */

/** A connection held while others are requested: by a transaction, stream or listener, or because it is reserved. */
export interface Hold {
  /** The calls that hold this connection and wait for another. */
  readonly waiting: Set<Waiting>
  state: "ahead" | "live" | "ended"
  /** The id of the fiber that opened the stream and passed it to a child, which ends it by itself. */
  leftBy?: number
}

export interface Waiting {
  /** The connections that the call holds while it waits. */
  readonly within: ReadonlyArray<Hold>
  /** Returns the holds that must end first, also on a full server; `undefined` if the wait ends without that. */
  readonly obstacle: (isFull: boolean) => Obstacle | undefined
}

export interface Obstacle {
  readonly holds: ReadonlyArray<Hold>
  /** The number of holds that must end. */
  readonly needed: number
}

/** Makes a hold, which begins when it gets its connection. */
export const make = (): Hold => ({ waiting: new Set(), state: "ahead" })

export const isLive = ({ state }: Hold) => state === "live"

export const hasEnded = ({ state }: Hold) => state === "ended"

/**
 * Whether a call waits for holds of which too many can only end after it, in all pools. On a full server a call also
 * waits for the holds of all connections.
 */
export const isDeadlocked = (first: Waiting, isFull: boolean): boolean => {
  const obstacles = new Map<Waiting, Obstacle | undefined>()
  const reach = (waiting: Waiting) => {
    if (obstacles.has(waiting)) return
    const obstacle = waiting.obstacle(isFull)
    obstacles.set(waiting, obstacle)
    obstacle?.holds.forEach((hold) => hold.waiting.forEach(reach))
  }
  reach(first)
  // Removes the calls that can proceed, and then those that waited only for them; the rest wait for each other.
  const stuck = new Set(obstacles.keys())
  const canProceed = (hold: Hold) => ![...hold.waiting].some((_) => stuck.has(_))
  for (let before = NaN; before !== stuck.size;) {
    before = stuck.size
    for (const waiting of stuck) {
      const obstacle = obstacles.get(waiting)
      if (obstacle === undefined || obstacle.holds.filter(canProceed).length >= obstacle.needed) stuck.delete(waiting)
    }
  }
  return stuck.has(first)
}
