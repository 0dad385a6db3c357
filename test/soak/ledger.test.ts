import { assert, it } from "@effect/vitest"
import { type Fate, Ledger, type Row } from "./ledger.ts"

/** What is wrong with these rows of one write of alice's. */
const wrong = (fate: Fate, parts: number, rows: (key: string) => ReadonlyArray<Row>) => {
  const ledger = new Ledger()
  const write = ledger.open("alice", parts)
  ledger.settle(write, fate)
  return ledger.audit(rows(write.key)).wrong.length
}

const row = (key: string, part = 1, owner = "alice"): Row => ({ owner, key, part })

it.each<readonly [what: string, fate: Fate, parts: number, rows: (key: string) => ReadonlyArray<Row>, wrong: number]>([
  ["an acknowledged write is there", "acknowledged", 1, (key) => [row(key)], 0],
  ["an acknowledged write is lost", "acknowledged", 1, () => [], 1],
  ["an acknowledged write is there twice", "acknowledged", 1, (key) => [row(key), row(key)], 1],
  ["an unknown write is there", "unknown", 1, (key) => [row(key)], 0],
  ["an unknown write is not there", "unknown", 1, () => [], 0],
  ["an unknown write is there twice", "unknown", 1, (key) => [row(key), row(key)], 1],
  ["a refused write is there", "refused", 1, (key) => [row(key)], 1],
  ["a refused write is not there", "refused", 1, () => [], 0],
  ["a transaction is there", "acknowledged", 2, (key) => [row(key), row(key, 2)], 0],
  ["half a transaction is there", "unknown", 2, (key) => [row(key)], 1],
  ["half a transaction is there twice", "unknown", 2, (key) => [row(key), row(key)], 1],
  ["a write is there as somebody else's", "acknowledged", 1, (key) => [row(key, 1, "bob")], 1],
  ["nobody wrote it", "refused", 1, () => [row("w0")], 1]
])("the ledger sees that %s", (_, fate, parts, rows, due) => {
  assert.strictEqual(wrong(fate, parts, rows), due)
})

it("an audit tells how many of the unknown were carried out", () => {
  const ledger = new Ledger()
  const [first] = [ledger.open("alice", 1), ledger.open("alice", 1)]
  assert.strictEqual(ledger.audit([row(first.key)]).carriedOut, 1)
  assert.deepStrictEqual(ledger.counts(), { acknowledged: 0, refused: 0, unknown: 2 })
})
