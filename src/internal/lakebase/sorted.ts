/** Lists sorted by turn. */

interface Turn {
  readonly turn: number
}

// By bisection: a queue of thousands is not searched from end to end.
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

export const insert = <A extends Turn>(sorted: Array<A>, a: A) => sorted.splice(positionOf(sorted, a), 0, a)

export const remove = <A extends Turn>(sorted: Array<A>, a: A): boolean => {
  const position = positionOf(sorted, a)
  return sorted[position] === a && sorted.splice(position, 1).length > 0
}
