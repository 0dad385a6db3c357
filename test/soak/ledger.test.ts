import { assert, describe, it } from "@effect/vitest"
import { type Fate, Ledger, type Row } from "./ledger.ts"

/** What is wrong with these rows of one write of alice's. */
const wrong = (fate: Fate, parts: number, rows: (key: string) => ReadonlyArray<Row>) => {
  const ledger = new Ledger()
  const write = ledger.open("alice", parts)
  ledger.settle(write, fate)
  return ledger.audit(rows(write.key)).wrong.length
}

const row = (key: string, part = 1, owner = "alice"): Row => ({ owner, key, part })

describe("Ledger.audit", () => {
  it.each<readonly [what: string, fate: Fate, parts: number, rows: (key: string) => ReadonlyArray<Row>, wrong: number]>(
    [
      ["an acknowledged write is stored", "acknowledged", 1, (key) => [row(key)], 0],
      ["an acknowledged write is lost", "acknowledged", 1, () => [], 1],
      ["an acknowledged write is stored twice", "acknowledged", 1, (key) => [row(key), row(key)], 1],
      ["a write of unknown fate is stored", "unknown", 1, (key) => [row(key)], 0],
      ["a write of unknown fate is not stored", "unknown", 1, () => [], 0],
      ["a write of unknown fate is stored twice", "unknown", 1, (key) => [row(key), row(key)], 1],
      ["a refused write is stored", "refused", 1, (key) => [row(key)], 1],
      ["a refused write is not stored", "refused", 1, () => [], 0],
      ["a whole transaction is stored", "acknowledged", 2, (key) => [row(key), row(key, 2)], 0],
      ["half a transaction is stored", "unknown", 2, (key) => [row(key)], 1],
      ["half a transaction is stored twice", "unknown", 2, (key) => [row(key), row(key)], 1],
      ["a write is stored under another owner", "acknowledged", 1, (key) => [row(key, 1, "bob")], 1],
      ["a row is stored that no request wrote", "refused", 1, () => [row("w0")], 1]
    ]
  )("gives a fault count of $4 when $0", (_, fate, parts, rows, due) => {
    assert.strictEqual(wrong(fate, parts, rows), due)
  })

  it("counts the writes of unknown fate that were carried out", () => {
    const ledger = new Ledger()
    const [first] = [ledger.open("alice", 1), ledger.open("alice", 1)]
    assert.strictEqual(ledger.audit([row(first.key)]).carriedOut, 1)
    assert.deepStrictEqual(ledger.counts(), { acknowledged: 0, refused: 0, unknown: 2 })
  })
})
