import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { parse } from "../../../src/internal/queries/parse.ts"

const definitionOf = (path: string, text: string) => {
  const parsed = parse(path, text)
  return Result.isSuccess(parsed) ? parsed.success : assert.fail(JSON.stringify(parsed.failure))
}

const problemsOf = (text: string, path = "q.sql") => {
  const parsed = parse(path, text)
  return Result.isFailure(parsed) ? parsed.failure.map(({ line, reason }) => `${line}: ${reason}`) : []
}

/** The parameters of lines, each used once. */
const parametersOf = (...lines: ReadonlyArray<string>) => {
  const used = lines.map((line) => {
    const [, name, list] = /^(\w+)\s+\S+?(\[\])?(?:\s|$)/.exec(line)!
    return list ? `x IN (:${name})` : `:${name}`
  })
  return definitionOf(
    "q.sql",
    [...lines.map((line) => `-- @param ${line}`), `SELECT ${used.join(", ")}`].join("\n")
  ).parameters.map(({ default: absent, sample, ...rest }) => ({
    ...rest,
    default: absent && (absent.elements?.map(({ value }) => value) ?? absent.value),
    sample: sample && (sample.elements?.map(({ value }) => value) ?? sample.value)
  }))
}

describe("parse", () => {
  it("reads key and identity from the name of the file", () => {
    for (const [path, key, runsAs] of [
      ["orders.sql", "orders", "service"],
      ["orders.obo.sql", "orders", "user"],
      ["config/queries/orders-by_day2.obo.sql", "orders-by_day2", "user"],
      ["C:\\app\\queries\\orders.sql", "orders", "service"],
      ["./obo.sql", "obo", "service"]
    ] as const) {
      const { key: is, runsAs: as, path: at } = definitionOf(path, "SELECT 1")
      assert.deepStrictEqual([is, as, at], [key, runsAs, path])
    }
  })

  it("refuses any other name, so that no misspelt suffix becomes a query of the service principal", () => {
    for (const path of [
      "a.OBO.sql",
      "a.obo.SQL",
      "a.SQL",
      "a.b.sql",
      "a.obo.obo.sql",
      "a .obo.sql",
      ".obo.sql",
      "é.sql",
      "a.sql.txt"
    ]) {
      assert.match(problemsOf("SELECT 1", path)[0] ?? "", /^1: the name of a file is "key\.sql" for the service/, path)
    }
  })

  it("reads every type, in any case, with its synonyms", () => {
    const lines =
      "STRING BOOLEAN tinyint SMALLINT Int INTEGER BIGINT LONG FLOAT REAL DOUBLE DECIMAL NUMERIC DECIMAL(10,2) numeric(5) DATE TIMESTAMP TIMESTAMP_NTZ BINARY"
        .split(" ")
        .map((type, index) => `p${index} ${type}`)
    assert.deepStrictEqual(
      parametersOf(...lines).map(({ type }) => type),
      "STRING BOOLEAN TINYINT SMALLINT INT INT BIGINT BIGINT FLOAT FLOAT DOUBLE DECIMAL DECIMAL DECIMAL(10,2) DECIMAL(5,0) DATE TIMESTAMP TIMESTAMP_NTZ BINARY".split(
        " "
      )
    )
  })

  it("reads defaults, optional parameters, lists and the samples of AppKit", () => {
    assert.deepStrictEqual(parametersOf("day DATE"), [
      { name: "day", type: "DATE", isList: false, default: undefined, sample: undefined }
    ])
    const [text, number, nothing, list, none, sample, quoted, bytes, dated] = parametersOf(
      "a STRING DEFAULT 'it''s = NULL'",
      "b INT default 5",
      "c DATE DEFAULT NULL",
      "d STRING[] DEFAULT ('EU, west', 'US')",
      "e INT[] DEFAULT ()",
      "f STRING = main",
      "g DATE = '2026-01-31'",
      "h BINARY = X'00ff'",
      "i TIMESTAMP DEFAULT '2026-01-31T12:00:00Z'"
    )
    assert.strictEqual(text!.default, "it's = NULL")
    assert.strictEqual(number!.default, "5")
    assert.strictEqual(nothing!.default, null)
    assert.deepStrictEqual([list!.default, list!.isList, list!.type], [["EU, west", "US"], true, "STRING"])
    assert.deepStrictEqual(none!.default, [])
    assert.deepStrictEqual([sample!.default, sample!.sample], [undefined, "main"])
    assert.strictEqual(quoted!.sample, "2026-01-31")
    assert.strictEqual(bytes!.sample, "00ff")
    assert.strictEqual(dated!.default, "2026-01-31T12:00:00Z")
  })

  it("keeps the lines of the statement, without comments and the last semicolon", () => {
    const { statement } = definitionOf(
      "q.sql",
      "\uFEFF-- update (daily)\r\n-- @param day DATE\nSELECT /*+ BROADCAST(t) */ ':x -- no' /* insert\n into */ , :day; -- end\n;"
    )
    assert.strictEqual(statement.replaceAll(/ +/g, " "), " \r\n \nSELECT /*+ BROADCAST(t) */ ':x -- no' \n , :day")
  })

  it("ignores a line that looks like a parameter inside a string or a block comment", () => {
    const { parameters } = definitionOf(
      "q.sql",
      "/* -- @param a DATE\n-- @param b DATE */ SELECT '\n-- @param c DATE\n'"
    )
    assert.deepStrictEqual(parameters, [])
  })

  it("needs no line for :workspaceId", () => {
    assert.deepStrictEqual(definitionOf("q.sql", "SELECT :workspaceId").parameters, [])
    assert.deepStrictEqual(problemsOf("-- @param workspaceId STRING\nSELECT :workspaceId"), [
      "1: :workspaceId is provided: remove its line"
    ])
  })

  const wrong: ReadonlyArray<readonly [string, string, string | RegExp]> = [
    ["a parameter without a line", "SELECT\n :day", /^2: :day is not declared: add the line "-- @param day TYPE"/],
    ["a parameter with the name of a type", "-- @param a DATE\nSELECT :a, :DATE", /^2: :DATE is not declared/],
    ["a parameter of another case", "-- @param day DATE\nSELECT :Day, :day", /^2: :Day is not declared/],
    ["a line without a parameter", "-- @param day DATE\nSELECT raw:day", /^1: the statement does not use :day/],
    [
      "a line that names a parameter twice",
      "-- @param a INT\n-- @param a INT\nSELECT :a",
      "2: the parameter a is declared twice: remove one of its lines"
    ],
    ["an unknown type", "\n-- @param a TEXT\nSELECT :a", /^2: TEXT is not a type of a parameter: use STRING, BOOLEAN/],
    ["a type that decimals do not have", "-- @param a DECIMAL(40,2)\nSELECT :a", /^1: DECIMAL\(40,2\) is not a type/],
    ["a precision of another type", "-- @param a INT(3)\nSELECT :a", /^1: INT\(3\) is not a type/],
    ["a line without a type", "-- @param a\nSELECT :a", /^1: "-- @param a" does not read as/],
    ["text after the type", "-- @param a INT DEFUALT 5\nSELECT :a", /^1: "-- @param a INT DEFUALT 5" does not read as/],
    [
      "a name that is not an identifier",
      "-- @param a-b INT\nSELECT 1",
      /^1: the parameter name "a-b" is not an identifier/
    ],
    [
      "a default outside of its type",
      "-- @param a INT DEFAULT 2147483648\nSELECT :a",
      "1: the default of a is wrong: a INT must be an integer of 32 bits"
    ],
    [
      "a default that is an expression",
      "-- @param a STRING DEFAULT upper('x')\nSELECT :a",
      /^1: the default of a is wrong: write text in single quotes/
    ],
    [
      "a default that is text without quotes",
      "-- @param a STRING DEFAULT EMEA\nSELECT :a",
      /^1: the default of a is wrong: write text in single quotes/
    ],
    [
      "a sample outside of its type",
      "-- @param a DATE = yesterday\nSELECT :a",
      /^1: the sample of a is wrong: a DATE must be a day/
    ],
    [
      "a default of a list without parentheses",
      "-- @param a INT[] DEFAULT 5\nSELECT x IN (:a)",
      /^1: the default of a is wrong: write a list as \('a', 'b'\)/
    ],
    [
      "NULL in a list",
      "-- @param a INT[] DEFAULT (1, NULL)\nSELECT x IN (:a)",
      /^1: the default of a is wrong: a list must not contain NULL/
    ],
    [
      "a list with an element that is missing or not closed",
      "-- @param a INT[] DEFAULT (1,,2)\n-- @param b INT[] DEFAULT ('1, 2)\nSELECT x IN (:a), x IN (:b)",
      /^1: the default of a is wrong: write a list as/
    ],
    ["a list outside of IN (…)", "-- @param a INT[]\nSELECT\nx = :a", "3: :a is a list, which stands only as IN (:a)"],
    [
      "a comment without an end, whose condition would be lost",
      "SELECT * FROM orders\n/* WHERE owner = current_user()",
      "2: a comment, a string or a quoted name is not closed"
    ],
    [
      "a nested comment without an end",
      "SELECT * FROM orders /* see /* old */\nWHERE owner = current_user()",
      "1: a comment, a string or a quoted name is not closed"
    ],
    ["a string without an end", "SELECT 1,\n'two", /^2: a comment, a string or a quoted name is not closed/],
    ["bytes that are not UTF-8", "SELECT *\nWHERE city = 'Z\uFFFDrich'", /^2: the file has bytes that are not UTF-8/],
    ["the text of UTF-16", "S\0E\0L\0", /^1: the file has bytes that are not UTF-8/],
    [
      "a name that no object can have",
      "-- @param __proto__ INT\nSELECT :__proto__",
      /^1: the parameter name "__proto__" is not an identifier/
    ],
    ["two statements", "SELECT 1;\nDROP TABLE t", /^2: a file has one statement/],
    ["no statement", "-- nothing\n;", /1: the file has no statement/]
  ]
  for (const [what, text, reason] of wrong) {
    it(`refuses ${what}, and names the line`, () => {
      const [problem = "no problem"] = problemsOf(text)
      if (typeof reason === "string") assert.strictEqual(problem, reason)
      else assert.match(problem, reason)
    })
  }

  it("returns every problem of a file in the order of its lines", () => {
    assert.deepStrictEqual(
      problemsOf("-- @param a TEXT\nSELECT :a, :b\n; SELECT 2").map((_) => _.slice(0, 1)),
      ["1", "2", "3"]
    )
  })
})
