import { assert, describe, it } from "@effect/vitest"
import { split } from "../../../../src/internal/lakebase/migrations/statements.ts"

const texts = (script: string) => split(script).map(({ text }) => text)

describe("split", () => {
  it("ends a statement at a semicolon, and the last one at the end", () =>
    assert.deepStrictEqual(texts("SELECT 1; SELECT 2 ;;\n SELECT 3"), ["SELECT 1", "SELECT 2", "SELECT 3"]))

  it("leaves out comments around statements, and keeps those inside", () =>
    assert.deepStrictEqual(texts("-- a; b\nSELECT /* ; /* ; */ ; */ 1; -- c\n/* d; */ SELECT -- e;\n2\n-- f"), [
      "SELECT /* ; /* ; */ ; */ 1",
      "SELECT -- e;\n2"
    ]))

  it.each([
    "SELECT 'a;b', 'it''s; fine'",
    `SELECT "a;b" FROM "x"";y"`,
    String.raw`SELECT E'it\'s; fine', e'\\'`,
    "SELECT E'a'\n  'b\\';c'",
    String.raw`SELECT 'a\', U&'\0061;'`,
    "SELECT $$a;b$$, $tag$ $$;$$ $tagged$; $tag$",
    "SELECT a$b$c FROM t$x$ WHERE d = $é$;$é$",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END",
    "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); END",
    "DO $$ BEGIN PERFORM 1; END $$"
  ])("keeps %s whole", (statement) =>
    assert.deepStrictEqual(texts(`${statement};\n${statement};SELECT 1`), [statement, statement, "SELECT 1"])
  )

  it("does not take BEGIN and CASE outside of a routine for the start of a body", () =>
    assert.deepStrictEqual(texts("BEGIN; SELECT CASE WHEN true THEN 1 END; END; SELECT 1"), [
      "BEGIN",
      "SELECT CASE WHEN true THEN 1 END",
      "END",
      "SELECT 1"
    ]))

  it("says in which line each statement begins", () =>
    assert.deepStrictEqual(
      split("\n-- first\nSELECT 1;\r\n\r\nSELECT\n2; SELECT 3").map(({ line }) => line),
      [3, 5, 6]
    ))

  it("takes what has no end for the rest of the script", () => {
    for (const open of ["'a;b", '"a;b', "$$a;b", "/* a; b", "E'a;b"]) {
      assert.deepStrictEqual(texts(`SELECT 1; SELECT ${open}`).length, 2, open)
    }
  })
})
