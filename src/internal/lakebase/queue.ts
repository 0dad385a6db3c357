/** A queue of waiting calls. The calls of one caller form a line, which is queued by its first call. */

interface Turn {
  readonly turn: number
}

export interface Line<W extends Turn> {
  readonly waiters: Array<W>
  /** The turn of its first waiter, by which the queue is sorted. */
  turn: number
}

export const line = <W extends Turn>(): Line<W> => ({ waiters: [], turn: NaN })

/** Adds a call to its line. */
export const add = <W extends Turn>(queue: Array<Line<W>>, line: Line<W>, waiter: W) => {
  insert(line.waiters, waiter)
  position(queue, line)
}

/** Removes a call from its line. Returns `false` if it has already left. */
export const leave = <W extends Turn>(queue: Array<Line<W>>, line: Line<W>, waiter: W): boolean => {
  const waited = remove(line.waiters, waiter)
  if (waited) position(queue, line)
  return waited
}

/** Inserts a line by the turn of its first call. */
const position = <W extends Turn>(queue: Array<Line<W>>, line: Line<W>) => {
  const [first] = line.waiters
  if (first?.turn === line.turn) return
  remove(queue, line)
  line.turn = first?.turn ?? NaN
  if (first !== undefined) insert(queue, line)
}

// By bisection, because a queue may have thousands of lines.
const positionOf = (sorted: ReadonlyArray<Turn>, { turn }: Turn) => {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]!.turn < turn) low = middle + 1
    else high = middle
  }
  return low
}

const insert = <A extends Turn>(sorted: Array<A>, a: A) => sorted.splice(positionOf(sorted, a), 0, a)

const remove = <A extends Turn>(sorted: Array<A>, a: A): boolean => {
  const position = positionOf(sorted, a)
  return sorted[position] === a && sorted.splice(position, 1).length > 0
}
