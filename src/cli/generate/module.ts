/** Writes the module of the queries: for each file the function that `Queries.query` makes. */
import { type Document, entriesBy, header, importOf } from "./document.ts"
import { indented, parametersOf, rowsOf } from "./types.ts"

export const ofQueries: Document = {
  entryOf: ({ key, parameters, path, runsAs }, columns) => {
    const fields = [
      `key: ${JSON.stringify(key)}`,
      `runsAs: ${JSON.stringify(runsAs)}`,
      ...(parameters.length === 0 ? [] : [`parameters: ${parametersOf(parameters)}`]),
      `rows: ${rowsOf(columns)}`
    ]
    const [file] = /[^\\/]+$/.exec(path) ?? []
    const who = runsAs === "user" ? "the user" : "the service principal"
    return `/** Runs \`${file}\` as ${who}. */\nexport const ${nameOf(key)} = Queries.query({\n${indented(fields.join(",\n"))}\n})`
  },
  textOf: (entries) =>
    [
      `${header}${importOf("{ Schema }", "effect")}\n${importOf("{ Queries }", "effect-databricks")}`,
      ...[...entries].toSorted(byKey).map(([, source]) => source)
    ].join("\n\n") + "\n",
  entriesIn: (text) =>
    entriesBy(text, /^\/\*\* .*\nexport const .*\n {2}key: (?<key>["'][\w-]+["']),\n(?: .*\n)*\}\);?$/gm)
}

export const byKey = ([a]: readonly [string, string], [b]: readonly [string, string]) => (a < b ? -1 : 1)

/** Returns the name of the function of a query: `orders_by-day` becomes `ordersByDay`. */
export const nameOf = (key: string): string => {
  const [first = "", ...others] = key.split(/[_-]+/).filter((word) => word !== "")
  const name = first + others.map((word) => word[0]!.toUpperCase() + word.slice(1)).join("")
  return /^\d|^$/.test(name) ? `_${name}` : reserved.has(name) ? `${name}_` : name
}

/** The words that are no name in a module, the names that it imports, and `then`, with which `import()` never ends. */
const reserved: ReadonlySet<string> = new Set(
  `arguments await break case catch class const continue debugger default delete do else enum eval export extends false
  finally for function if implements import in instanceof interface let new null package private protected public return
  static super switch then this throw true try typeof undefined var void while with yield Queries Schema`
    .trim()
    .split(/\s+/)
)
