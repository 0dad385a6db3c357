import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { markersOf, openIn, tokensOf } from "../../../src/internal/sql/tokens.ts"

const namesOf = (text: string) => markersOf(text).map(({ name }) => name)

/** The pieces of statements with the names of their markers; `@` stands for a drawn name. */
const pieces: ReadonlyArray<readonly [text: string, markers: number]> = [
  ["'it\\'s :no'", 0],
  ["'it''s :no'", 0],
  ["'\\\\'", 0],
  ['"it\'s :no \\" :no"', 0],
  ["r'\\'", 0],
  ['R"\\"', 0],
  ["x'00'", 0],
  ["`a``:no`", 0],
  ["-- it's :no\n", 0],
  ["-- \\\n:no\n", 0],
  ["--\r\n", 0],
  ["/* :no /* ' */ :no */", 0],
  ["/*+ REPARTITION(:no) */", 0],
  ["$$ :no ' $$", 0],
  ["a::INT", 0],
  ["a:no.b[0]:no", 0],
  ["f(x):no", 0],
  ["'{}':no", 0],
  ["`a`:no", 0],
  ["größe:no", 0],
  ["s3://bucket/path?x=1:no", 0],
  ["STRUCT<a: INT, b:STRING>", 0],
  ["1.5e3 - -2", 0],
  ["a / b", 0],
  [":@", 1],
  [":@::DATE", 1],
  [":@:no", 1],
  ["(:@,:@)", 2],
  ["x=:@", 1],
  ["x->:@", 1],
  ["x /:@", 1],
  ["-:@", 1],
  ["/* */:@", 1],
  ["--\n:@", 1],
  ["'a'||:@", 1]
]

describe("tokensOf", () => {
  it("names the kind of each token", () => {
    const text = "SELECT /*+ x */ r'\\' || `a` -- c\n, :p, $$ x $$, a::INT /* /* */ */"
    assert.deepStrictEqual(
      tokensOf(text).map(({ kind, start, end }) => [kind, text.slice(start, end)]),
      [
        ["word", "SELECT"],
        ["hint", "/*+ x */"],
        ["string", "r'\\'"],
        ["symbol", "|"],
        ["symbol", "|"],
        ["quoted", "`a`"],
        ["comment", "-- c"],
        ["symbol", ","],
        ["marker", ":p"],
        ["symbol", ","],
        ["dollar", "$$ x $$"],
        ["symbol", ","],
        ["word", "a"],
        ["symbol", "::"],
        ["word", "INT"],
        ["comment", "/* /* */ */"]
      ]
    )
  })

  it.effect.prop(
    "covers any text in order, without a gap but blanks",
    {
      parts: Schema.Array(
        Schema.Literals(["'", '"', "`", "--", "\n", "/*", "*/", "\\", "r", "$$", "x", ":", " ", "ö", "\ud83d"])
      )
    },
    ({ parts }) =>
      Effect.sync(() => {
        const text = parts.join("")
        let at = 0
        for (const { start, end } of tokensOf(text)) {
          assert.strictEqual(text.slice(at, start).trim(), "")
          assert.isAbove(end, start)
          at = end
        }
        assert.strictEqual(text.slice(at).trim(), "")
      })
  )
})

describe("markersOf", () => {
  for (const [text, markers] of pieces) {
    it(`finds ${markers} parameters in ${JSON.stringify(text)}`, () =>
      assert.lengthOf(namesOf(text.replaceAll("@", "day")), markers))
  }

  it.effect.prop(
    "finds exactly the parameters of a statement, wherever quotes, comments, casts and fields are",
    {
      drawn: Schema.Array(
        Schema.Struct({
          piece: Schema.Literals(pieces.map((_, index) => index)),
          names: Schema.Tuple([Schema.Literals(["a", "day", "_x1"]), Schema.Literals(["b", "IN", "r"])]),
          blank: Schema.Literals([" ", "\n", "\t", ", ", " + "])
        })
      )
    },
    ({ drawn }) =>
      Effect.sync(() => {
        const expected: Array<string> = []
        const text = drawn
          .map(({ piece, names, blank }) => {
            let count = 0
            const written = pieces[piece]![0].replaceAll("@", () => {
              const name = names[count++]!
              expected.push(name)
              return name
            })
            return written + blank
          })
          .join("")
        assert.deepStrictEqual(namesOf(text), expected, text)
      }),
    { arbitrary: { runs: 500 } }
  )

  it("says which parameter stands alone in IN (…)", () => {
    const listed = (text: string) => markersOf(text).map(({ isListed }) => isListed)
    assert.deepStrictEqual(listed("x IN (:a) AND y not in /* c */ ( :b -- c\n )"), [true, true])
    assert.deepStrictEqual(listed("x IN (:a, 1) OR f(:b) OR x IN :c OR begin(:d) OR x IN ((:e))"), [
      false,
      false,
      false,
      false,
      false
    ])
  })
})

describe("openIn", () => {
  it("finds the literal or comment that is not closed", () => {
    for (const text of ["/* a", "/* a /* b */", "/*+ a", "'a", '"a\\"', "r'a", "`a", "$$a", "$x$a $$"]) {
      assert.strictEqual(openIn(`SELECT 1, ${text}`), 10, text)
    }
    for (const text of [
      "",
      "1",
      "/* a */",
      "/* a /* b */ */",
      "-- /*",
      "-- a\\",
      "'a''b'",
      "r'\\'",
      "`a`",
      "$$a$$",
      "/ *",
      "a'b'*/"
    ]) {
      assert.isUndefined(openIn(`SELECT 1, ${text}`), text)
    }
  })
})
