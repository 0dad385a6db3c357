import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { SqlParameter, SqlWarehouse } from "effect-databricks"

/** Keeps the statements that are run, and returns no rows. */
const recorded = () => {
  const seen: Array<SqlWarehouse.Statement> = []
  const answer = { statementId: "1", columns: [], rows: [], truncated: false }
  const run = (statement: SqlWarehouse.Statement) => {
    seen.push(statement)
    return answer
  }
  const layer = Layer.mock(SqlWarehouse.SqlWarehouse, {
    execute: (statement) => Effect.sync(() => run(statement)),
    executeStream: (statement) => Stream.sync(() => run(statement))
  })
  return { seen, layer }
}

const query = () => SqlWarehouse.query(Schema.Struct({}))
const x = "it's"

/** What an interpolation of a template is refused with, if it is. */
const refusalsOf = (template: ReturnType<ReturnType<typeof query>>) =>
  Effect.gen(function* () {
    const { layer, seen } = recorded()
    yield* Effect.provide(template, layer)
    return Object.entries(seen[0]!.parameters ?? {}).map(([name, value]) => {
      const bound = SqlParameter.bind({ [name]: value })
      return bound._tag === "Failure" ? bound.failure.message : undefined
    })
  })

const within = {
  quotes: [
    query()`SELECT * FROM t WHERE name = '${x}'`,
    query()`SELECT '%${x}%'`,
    query()`SELECT "${x}"`,
    query()`SELECT 'it\\'s ${x}'`,
    query()`SELECT 'it''s ${x}'`,
    query()`SELECT '--' || '${x}'`,
    query()`SELECT '/* ' || '${x}'`,
    query()`SELECT "it's ${x}"`,
    query()`SELECT '"' || "${x}"`,
    query()`SELECT r'\\' || '${x}'`,
    query()`SELECT R"${x}"`,
    query()`SELECT bar'\\'${x}'`,
    query()`SELECT '
      ${x}`,
    query()`SELECT '\\${x}'`
  ],
  "a comment": [
    query()`SELECT 1 -- ${x}`,
    query()`SELECT 1 --${x}
      FROM t`,
    query()`SELECT 1 -- it's \\
      ${x}`,
    query()`SELECT 1 /* ${x} */`,
    query()`SELECT 1 /* /* */ ${x} */`,
    query()`SELECT 1 /* ' */ + 1 /*${x}`,
    query()`SELECT /*+ REPARTITION(${x}) */ 1`
  ],
  backticks: [
    query()`SELECT * FROM \`${x}\``,
    query()`SELECT * FROM \`a\`\`${x}\``,
    query()`SELECT \`it's\`, \`${x}\``
  ],
  "dollar quotes": [
    query()`CREATE FUNCTION f() RETURNS INT LANGUAGE PYTHON AS $$ return ${x} $$`,
    query()`SELECT $a$ $$ ${x} $a$`
  ]
}

describe("SqlWarehouse.query", () => {
  for (const [place, templates] of Object.entries(within)) {
    it.effect(`refuses an interpolation inside ${place}`, () =>
      Effect.forEach(templates, (template) =>
        Effect.map(refusalsOf(template), (refusals) =>
          assert.deepStrictEqual(refusals, [
            `The parameter :p_1 cannot be sent: its interpolation is inside ${place}, where SQL binds no parameter: move it out, and use concat(…) for a part of a string or IDENTIFIER(…) for a name`
          ])
        )
      )
    )
  }

  it.effect("refuses an interpolation right after a name, a value or a colon, where SQL reads a part of it", () =>
    Effect.forEach(
      [
        query()`SELECT * FROM orders_${x}`,
        query()`SELECT payload${x}`,
        query()`SELECT payload:${x}`,
        query()`SELECT a::${x}`,
        query()`SELECT t.${x}`,
        query()`SELECT a[0]${x}`,
        query()`SELECT f(1)${x}`,
        query()`SELECT \`a\`${x}`,
        query()`SELECT ''${x}''`
      ],
      (template) =>
        Effect.map(refusalsOf(template), ([refusal]) =>
          assert.match(
            refusal ?? "",
            /^The parameter :p_1 cannot be sent: its interpolation follows "\\?." without a space, where SQL reads/
          )
        )
    )
  )

  it.effect("binds an interpolation that stands by itself, whatever is around it", () =>
    Effect.forEach(
      [
        query()`SELECT 'a' || ${x} || 'b'`,
        query()`SELECT '' || ${x}`,
        query()`SELECT 'it''s', ${x}`,
        query()`SELECT 'it\\'s', ${x}`,
        query()`SELECT '\\\\', ${x}`,
        query()`SELECT r'\\', ${x}`,
        query()`SELECT "it's", ${x}`,
        query()`SELECT \`it's "\`, ${x}`,
        query()`SELECT \`a\`\`b\`, ${x}`,
        query()`SELECT 1 -- it's
          , ${x}`,
        query()`SELECT 1 - -${x}`,
        query()`SELECT 1 -${x}- 2`,
        query()`SELECT 1 /* it's /* " */ \` */ , ${x}`,
        query()`SELECT 2 /${x} * 3`,
        query()`SELECT * FROM IDENTIFIER(${x}) /*+ */`,
        query()`SELECT $$ it's $$, ${x}`,
        query()`SELECT ${x}::string, a:b.c`
      ],
      (template, index) =>
        Effect.map(refusalsOf(template), (refusals) => assert.deepStrictEqual(refusals, [undefined], String(index)))
    )
  )

  it.effect("names the interpolation that is refused, in queries and in streams, and runs nothing", () =>
    Effect.gen(function* () {
      const { seen, layer } = recorded()
      const streamed = SqlWarehouse.stream()`SELECT ${1}, '${x}', ${2}`.pipe(Stream.runDrain)
      yield* Effect.provide(Effect.andThen(query()`SELECT ${1}, '${x}', ${2}`, streamed), layer)
      assert.lengthOf(seen, 2)
      for (const { parameters = {}, text } of seen) {
        assert.strictEqual(text, "SELECT :p_1, ':p_2', :p_3")
        const bound = SqlParameter.bind(parameters)
        assert.isTrue(bound._tag === "Failure" && bound.failure.parameter === "p_2")
      }
    })
  )

  const Piece = Schema.Literals(["'", '"', "`", "--", "\n", "/*", "*/", "\\", "r'", "$$", "x", "''", ":", "-"])

  it.effect.prop(
    "refuses an interpolation exactly if the text before it leaves quotes, backticks or a comment open, or joins it",
    { pieces: Schema.Array(Piece), after: Schema.Array(Piece) },
    ({ after, pieces }) =>
      Effect.gen(function* () {
        const text = [pieces.join(""), after.join("")]
        const template = query()(Object.assign(text, { raw: text }), x)
        const [refusal] = yield* refusalsOf(template)
        const [joined] = /[x'"`:]$/.exec(text[0]!) ?? []
        assert.strictEqual(refusal !== undefined, isOpen(text[0]!) || joined !== undefined, JSON.stringify(text))
        assert.strictEqual(refusal?.includes("inside") ?? false, isOpen(text[0]!), refusal)
      }),
    { arbitrary: { runs: 1_000 } }
  )

  it.effect("binds the values of each call, also where a caller's own array has changed since", () =>
    Effect.gen(function* () {
      const { layer, seen } = recorded()
      const plus = (value: number) => query()`SELECT ${value}`
      const parts = ["SELECT ", ""]
      const own = Object.assign(parts, { raw: parts })
      yield* Effect.provide(Effect.all([plus(1), plus(2), query()(own, 3)]), layer)
      parts[0] = "SELECT -"
      yield* Effect.provide(query()(own, 4), layer)
      assert.deepStrictEqual(seen, [
        { text: "SELECT :p_1", parameters: { p_1: 1 } },
        { text: "SELECT :p_1", parameters: { p_1: 2 } },
        { text: "SELECT :p_1", parameters: { p_1: 3 } },
        { text: "SELECT -:p_1", parameters: { p_1: 4 } }
      ])
    })
  )
})

/** The same by hand, letter by letter. */
const isOpen = (text: string): boolean => {
  let at = 0
  const closes = (end: string, escapes: boolean) => {
    for (; at < text.length; at++) {
      if (text.startsWith(end, at)) return void (at += end.length)
      if (escapes && text[at] === "\\") at++
    }
    at = text.length + 1
  }
  const comment = () => {
    for (let depth = 1; at < text.length;) {
      const pair = text.slice(at, at + 2)
      if (pair === "/*" || pair === "*/") {
        depth += pair === "/*" ? 1 : -1
        at += 2
        if (depth === 0) return
      } else at++
    }
    at = text.length + 1
  }
  while (at < text.length) {
    const one = text[at]!
    const pair = text.slice(at, at + 2)
    if (pair === "--") {
      for (at += 2; at < text.length && text[at] !== "\n"; at++) if (text.startsWith("\\\n", at)) at++
      if (at >= text.length) return true
    } else if (pair === "/*") {
      at += 2
      comment()
    } else if (pair === "$$") {
      at += 2
      closes("$$", false)
    } else if (one === "'" || one === '"') {
      const isRaw = text[at - 1]?.toLowerCase() === "r" && !/\w/.test(text[at - 2] ?? " ")
      at++
      closes(one, !isRaw)
    } else if (one === "`") {
      at++
      closes("`", false)
    } else at++
  }
  return at > text.length
}
