import { assert, describe, it } from "@effect/vitest"
import { scan } from "../../../../src/testing/localWorkspace/sql/scanner.ts"

describe("scan", () => {
  const cases: ReadonlyArray<readonly [sql: string, scanned: string, names: ReadonlyArray<string>]> = [
    ["SELECT :a, :b, :a", "SELECT $1, $2, $1", ["a", "b"]],
    ["SELECT ':a', \":b\", 'it''s :c', :d", "SELECT ':a', \":b\", 'it''s :c', $1", ["d"]],
    ["SELECT :a::int, x::text", "SELECT $1::int, x::text", ["a"]],
    ["SELECT 1 -- :a\n, :b", "SELECT 1 -- :a\n, $1", ["b"]],
    ["/* :a /* :b */ :c */ :d", "/* :a /* :b */ :c */ $1", ["d"]],
    ["SELECT $$ :a $$, $q$ $$ :b $q$, :c", "SELECT $$ :a $$, $q$ $$ :b $q$, $1", ["c"]],
    ["SELECT E'\\':a', :b", "SELECT E'\\':a', $1", ["b"]],
    ['SELECT `a:b"c`, :d', 'SELECT "a:b""c", $1', ["d"]],
    ["SELECT ':unterminated", "SELECT ':unterminated", []]
  ]
  it.each(cases)("numbers the named parameters of %j", (sql, scanned, names) => {
    assert.deepStrictEqual(scan(sql), { sql: scanned, names })
  })
})
