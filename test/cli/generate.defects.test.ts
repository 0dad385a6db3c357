/** The defects of AppKit's generator, by their numbers, each as a promise of this one. */
import { assert, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Result } from "effect"
import { transform } from "esbuild"
import { ofQueries } from "../../src/cli/generate/module.ts"
import { ofRegistry } from "../../src/cli/generate/registry.ts"
import type { Column } from "../../src/cli/generate/types.ts"
import { parse } from "../../src/internal/queries/parse.ts"
import { eventually } from "../fixtures/eventually.ts"
import { asked, evaluate, project } from "../fixtures/generate.ts"

/** The module and the registry of one query with these columns, which both parse. */
const written = Effect.fnUntraced(function* (file: string, text: string, columns: ReadonlyArray<Column>) {
  const definition = Result.getOrThrow(parse(file, text))
  const [module, registry] = [ofQueries, ofRegistry].map((document) => {
    const entries = new Map([[definition.key, document.entryOf(definition, columns)]])
    const text = document.textOf(entries)
    // A later run finds the entry again, to keep it.
    assert.deepStrictEqual(document.entriesIn(text), entries)
    return text
  })
  yield* parses(module!, registry!)
  return { module: module!, registry: registry! }
})

const parses = (...texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) => Effect.promise(() => transform(text, { loader: "ts" })))

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })(
  "generate, the defect of AppKit's generator",
  (it) => {
    it.effect("1: null is in the type of each column, and the JSON of the registry is text", () =>
      Effect.gen(function* () {
        const { module, registry } = yield* written("a.sql", "SELECT 1", [
          { name: "n", type: "int" },
          { name: "ok", type: "boolean" }
        ])
        assert.include(module, "n: Schema.NullOr(Schema.Int),\n    ok: Schema.NullOr(Schema.Boolean)")
        assert.match(registry, /result: Array<\{\s+n: string \| null\s+ok: string \| null\s+\}>/)
      })
    )

    it.effect("2: a key with a hyphen or a leading digit is quoted, and its function has a valid name", () =>
      Effect.gen(function* () {
        for (const [key, name] of [
          ["my-query", "myQuery"],
          ["2024_sales", "_2024Sales"],
          ["delete", "delete_"],
          ["Schema", "Schema_"],
          // A module with this export is a promise to import().
          ["then", "then_"],
          ["-", "_"]
        ] as const) {
          const { module, registry } = yield* written(`${key}.sql`, "SELECT 1", [{ name: "n", type: "int" }])
          assert.strictEqual(evaluate(module)[name]?.key, key)
          assert.include(registry, `name: "${key}"`)
        }
      })
    )

    it.effect("2: two keys whose functions would have one name are a failure that names both files", () =>
      Effect.gen(function* () {
        const { module, put, remove, run } = yield* project({ "a-b.sql": "SELECT 1 AS x", "a_b.sql": "SELECT 2 AS y" })
        const { failed, stderr } = yield* run()
        assert.isTrue(failed)
        assert.strictEqual(stderr, "./queries/a_b.sql:1: ./queries/a-b.sql becomes aB too: rename one of them\n")
        assert.strictEqual(evaluate(yield* module)["aB"]?.key, "a-b")
        // Nor is the entry of a file kept that cannot be read.
        yield* remove("a-b.sql")
        yield* run()
        assert.strictEqual(evaluate(yield* module)["aB"]?.key, "a_b")
        yield* put({ "a-b.sql": "SELECT 1 AS x", "a_b.sql": "SELECT :y" })
        assert.isTrue((yield* run()).failed)
        assert.strictEqual(evaluate(yield* module)["aB"]?.key, "a-b")
      }).pipe(Effect.scoped)
    )

    it.effect("3: x.sql beside x.obo.sql is a failure, and the entry of x stays as it was", () =>
      Effect.gen(function* () {
        const { module, put, run } = yield* project({ "x.obo.sql": "SELECT 1 AS x", "y.sql": "SELECT 1 AS y" })
        yield* run()
        const before = yield* module
        yield* put({ "x.sql": "SELECT 2 AS z" })
        const { failed, stderr } = yield* run()
        assert.isTrue(failed)
        assert.include(stderr, "./queries/x.sql:1: ./queries/x.obo.sql has the key x too")
        assert.strictEqual(yield* module, before)
        assert.strictEqual(evaluate(before)["x"]?.runsAs, "user")
      }).pipe(Effect.scoped)
    )

    it.effect("4: a field, a string, a name in quotes and a comment with a colon are no parameters", () =>
      Effect.gen(function* () {
        const text = `SELECT raw:owner, "a:b", \`c:d\`, x::INT /* :note /* :nested */ */ FROM t -- :end`
        const { module } = yield* written("a.sql", text, [{ name: "n", type: "int" }])
        assert.notInclude(module, "parameters")
      })
    )

    it.effect("5: a parameter has its declared type wherever it stands, and that type only", () =>
      Effect.gen(function* () {
        const { module, run } = yield* project({
          "a.sql":
            "-- @param day DATE\n-- @param count INT\nSELECT :day /* + 1 */ AS day, :count AS count FROM generate_series(1, 2) LIMIT :count"
        })
        const { failed, stderr } = yield* run(["--query-registry", "REGISTRY"])
        assert.isFalse(failed, stderr)
        const text = (yield* module) ?? ""
        assert.include(text, "day: Schema.String,\n    count: Schema.Int")
        assert.include(text, "day: Schema.NullOr(Schema.String),\n    count: Schema.NullOr(Schema.Int)")
      }).pipe(Effect.scoped)
    )

    it.effect("6: a column named result of type VARIANT or GEOGRAPHY is described", () =>
      Effect.gen(function* () {
        const { module } = yield* written("a.sql", "SELECT 1", [
          { name: "result", type: "variant" },
          { name: "place", type: "geography(4326)" }
        ])
        assert.include(module, "result: Schema.NullOr(Schema.Json),\n    place: Schema.NullOr(Schema.String)")
      })
    )

    it.effect("7: no name or comment of a column leaves its quotes", () =>
      Effect.gen(function* () {
        const evil = ["*/ evil: 1; /*", '"', "a\nb", "${evil}", "`", "\\", "\u2028", ""]
        const { module } = yield* written("a.sql", "SELECT 1", [
          ...evil.map((name) => ({ name, type: "int" })),
          { name: "nested", type: "struct<a: int comment '*/ }) evil(); /*', `*/ \"b`: string>" }
        ])
        const { rows } = evaluate(module)["a"] as unknown as { readonly rows: { readonly fields: object } }
        assert.deepStrictEqual(Object.keys(rows.fields), [...evil, "nested"])
        assert.notInclude(module, "evil()")
      })
    )

    it.effect("8: of one bad query among many the others are written, and the failure names it", () =>
      Effect.gen(function* () {
        const { module, run } = yield* project({
          "bad.sql": "SELECT FROM WHERE",
          ...Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`good${index}.sql`, `SELECT ${index} AS n`]))
        })
        const { failed, stderr, stdout } = yield* run()
        assert.isTrue(failed)
        assert.match(stderr, /^\.\/queries\/bad\.sql:1: [^\n]*syntax error[^\n]*\n$/)
        assert.include(stdout, "is written: 12 queries")
        assert.lengthOf(Object.keys(evaluate(yield* module)), 12)
      }).pipe(Effect.scoped)
    )

    it.effect("9: a fresh checkout needs no folder and no cache", () =>
      Effect.gen(function* () {
        const { module, registry, run } = yield* project({ "a.sql": "SELECT 1 AS n" })
        const { failed, stderr } = yield* run(["--query-registry", "REGISTRY"])
        assert.isFalse(failed, stderr)
        yield* parses((yield* module) ?? "", (yield* registry) ?? "")
      }).pipe(Effect.scoped)
    )

    it.effect("10: an altered table is noticed though no file changes, and names are looked up in --schema", () =>
      Effect.gen(function* () {
        const { administer } = yield* LocalWorkspace.LocalWorkspace
        yield* administer(
          "CREATE SCHEMA depot; GRANT USAGE ON SCHEMA depot TO PUBLIC; CREATE TABLE depot.items (id int); GRANT SELECT ON depot.items TO PUBLIC"
        )
        const { module, run } = yield* project({ "a.sql": "SELECT id FROM items" })
        assert.isTrue((yield* run()).failed)
        const args = ["--schema", "depot"]
        assert.isFalse((yield* run(args)).failed)
        assert.include((yield* module) ?? "", "id: Schema.NullOr(Schema.Int)")
        yield* administer("ALTER TABLE depot.items ALTER COLUMN id TYPE bigint")
        const { failed, stderr } = yield* run([...args, "--check"])
        assert.isTrue(failed)
        assert.include(stderr, "a has changed")
        yield* run(args)
        assert.include((yield* module) ?? "", "id: Schema.NullOr(Schema.BigInt)")
      }).pipe(Effect.scoped)
    )

    it.effect(
      "11: --watch describes each file that is new or changes, drops deleted ones, and goes on after a failure",
      () =>
        Effect.gen(function* () {
          const { module, put, remove, run } = yield* project({ "a.sql": "SELECT 1 AS a" })
          yield* Effect.forkScoped(run(["--watch"]))
          const becomes = (is: (text: string) => boolean) =>
            eventually(
              Effect.map(module, (text) => text ?? ""),
              is
            )
          const first = yield* becomes((text) => text.includes("export const a "))
          const bodies = yield* asked(
            Effect.gen(function* () {
              yield* put({ "total.sql": "SELECT count(*) AS total" })
              yield* becomes((text) => text.includes("export const total"))
              yield* put({ "total.sql": "SELECT nothing" })
              yield* put({ "other.sql": "SELECT 1 AS one" })
              yield* becomes((text) => text.includes("export const other"))
              yield* put({ "total.sql": "SELECT count(*) AS amount" })
              yield* becomes((text) => text.includes("amount: "))
              yield* remove("total.sql")
              yield* remove("other.sql")
              assert.strictEqual(yield* becomes((text) => !text.includes("total") && !text.includes("other")), first)
            })
          )
          // What has not changed is not described again.
          for (const { statement } of bodies) assert.match(statement, /nothing|count|one/)
        }).pipe(Effect.scoped)
    )

    it.effect("12: names of parameters and columns are quoted in the registry", () =>
      Effect.gen(function* () {
        const { registry } = yield* written(
          "my-query.sql",
          "-- @param a DATE\n-- @param b INT DEFAULT NULL\nSELECT :a, :b",
          [{ name: "count(1)", type: "bigint" }]
        )
        assert.include(registry, '"my-query": {')
        assert.match(registry, /a: SQLDateMarker\s+b\?: SQLNumberMarker \| null\s/)
        assert.include(registry, '"count(1)": string | null')
      })
    )
  }
)
