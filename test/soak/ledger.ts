/** Every write, and the response to it. */

/** `acknowledged` is stored, `refused` is not. `unknown` had no response, or a 5xx. */
export type Fate = "acknowledged" | "refused" | "unknown"

interface Write {
  readonly owner: string
  readonly key: string
  /** How many rows it has, which are all there or none. */
  readonly parts: number
  fate: Fate
}

export interface Row {
  readonly owner: string
  readonly key: string
  readonly part: number
}

export class Ledger {
  private readonly writes = new Map<string, Write>()
  private readonly acknowledged = new Map<string, number>()
  private all = 0

  /** Enters a write whose fate is unknown yet. */
  open(owner: string, parts: number): Write {
    const write: Write = { owner, key: `w${this.writes.size + 1}`, parts, fate: "unknown" }
    this.writes.set(write.key, write)
    return write
  }

  settle(write: Write, fate: Fate): void {
    write.fate = fate
    if (fate !== "acknowledged") return
    this.all += write.parts
    this.acknowledged.set(write.owner, this.acknowledgedOf(write.owner) + write.parts)
  }

  /** The number of acknowledged rows of this user, or of all users: a later read returns at least as many. */
  acknowledgedOf(owner?: string): number {
    return owner === undefined ? this.all : (this.acknowledged.get(owner) ?? 0)
  }

  counts(): Readonly<Record<Fate, number>> {
    const counts = { acknowledged: 0, refused: 0, unknown: 0 }
    for (const { fate } of this.writes.values()) counts[fate]++
    return counts
  }

  /** Compares the stored rows with the ledger. Returns the errors, and the number of unknown writes that were carried out. */
  audit(rows: ReadonlyArray<Row>): { readonly wrong: ReadonlyArray<string>; readonly carriedOut: number } {
    const wrong: Array<string> = []
    const found = new Map<string, Array<Row>>()
    for (const row of rows) {
      const write = this.writes.get(row.key)
      if (write === undefined) wrong.push(`nobody wrote ${row.key}`)
      else if (write.owner !== row.owner) wrong.push(`${row.key} of ${write.owner} is there as ${row.owner}'s`)
      found.set(row.key, [...(found.get(row.key) ?? []), row])
    }
    let carriedOut = 0
    for (const { fate, key, owner, parts } of this.writes.values()) {
      const there = (found.get(key) ?? []).map(({ part }) => part)
      const whole = there.length === parts && new Set(there).size === parts
      if (there.length > 0 && !whole)
        wrong.push(`of the ${parts} rows of ${key} (${owner}, ${fate}) there are ${there.length}`)
      else if (fate === "acknowledged" && !whole) wrong.push(`${key} of ${owner} was acknowledged and is not there`)
      else if (fate === "refused" && whole) wrong.push(`${key} of ${owner} was refused and is there`)
      else if (fate === "unknown" && whole) carriedOut++
    }
    return { wrong, carriedOut }
  }
}
