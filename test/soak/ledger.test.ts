import { assert, describe, it } from "@effect/vitest"
import { FileLedger, nothing } from "./fileLedger.ts"
import { type Fate, Ledger, type Row } from "./ledger.ts"
import { Once } from "./once.ts"

/** The errors in these rows of one write of alice's. */
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

describe("Once.audit", () => {
  it.each<readonly [what: string, fate: Fate, times: number, wrong: number]>([
    ["an acknowledged request ran once", "acknowledged", 1, 0],
    ["an acknowledged request did not run", "acknowledged", 0, 1],
    ["an acknowledged request ran twice", "acknowledged", 2, 1],
    ["a request of unknown fate ran once", "unknown", 1, 0],
    ["a request of unknown fate did not run", "unknown", 0, 0],
    ["a request of unknown fate ran twice", "unknown", 2, 1],
    ["a refused request ran", "refused", 1, 1]
  ])("gives a fault count of $3 when $0", (_, fate, times, due) => {
    const once = new Once("q")
    const request = once.open("alice")
    request.fate = fate
    for (let i = 0; i < times; i++) once.reached(request.key, "alice")
    assert.strictEqual(once.audit().wrong.length, due)
  })

  it("finds requests of another user, and those that no user sent", () => {
    const once = new Once("q")
    once.reached(once.open("alice").key, "bob")
    once.reached("q7")
    assert.strictEqual(once.audit().wrong.length, 2)
  })
})

describe("FileLedger.audit", () => {
  it.each<readonly [what: string, first: Fate, second: Fate, stored: string, wrong: number]>([
    ["an acknowledged upload is stored", "acknowledged", "acknowledged", "second", 0],
    ["an acknowledged upload did not replace the old file", "acknowledged", "acknowledged", "first", 1],
    ["an acknowledged upload is lost", "acknowledged", "refused", nothing, 1],
    ["a cut upload left the old file", "acknowledged", "refused", "first", 0],
    ["a cut upload replaced the old file", "acknowledged", "refused", "second", 1],
    ["a cut upload left a part", "acknowledged", "refused", "a part", 1],
    ["an upload of unknown fate left the old file", "acknowledged", "unknown", "first", 0],
    ["an upload of unknown fate is stored", "acknowledged", "unknown", "second", 0],
    ["an upload of unknown fate left a part", "acknowledged", "unknown", "a part", 1],
    ["two cut uploads left nothing", "refused", "refused", nothing, 0],
    ["two cut uploads left a file", "refused", "refused", "first", 1]
  ])("gives a fault count of $4 when $0", (_, first, second, stored, due) => {
    const ledger = new FileLedger()
    const file = ledger.open("alice")
    ledger.settle(file, "first", first)
    ledger.settle(file, "second", second)
    const found = new Map(stored === nothing ? [] : [[`alice/${file.name}`, stored]])
    assert.strictEqual(ledger.audit(found).wrong.length, due)
  })

  it("finds a file that no user wrote", () => {
    assert.strictEqual(new FileLedger().audit(new Map([["alice/x", "first"]])).wrong.length, 1)
  })
})
