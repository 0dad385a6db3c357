/**
 * `npm run reference` writes docs/reference from the doc comments, a page for each public module, with `@effect/docgen`.
 * `npm run reference -- --check` fails if the written pages differ.
 *
 * docgen needs the API of TypeScript, which version 7 lacks. Hence it is installed in this folder.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import { dirname, join } from "node:path"
import { parseArgs } from "node:util"

const root = join(import.meta.dirname, "..")
const output = join(root, "docs/reference")

/** The public modules of a folder, without `.ts`: their names begin with a capital. */
const publicModules = fs
  .globSync(["src/[A-Z]*.ts", "src/*/[A-Z]*.ts"], { cwd: root })
  .map((file) => file.replace(/^src\/|\.ts$/g, ""))
  .toSorted()

/** Runs docgen on a copy of the sources. Returns its pages by module. */
const generated = (): ReadonlyMap<string, string> => {
  if (!fs.existsSync(join(import.meta.dirname, "node_modules"))) {
    execFileSync("npm", ["ci", "--prefix", import.meta.dirname, "--no-audit", "--no-fund"], { stdio: "inherit" })
  }
  fs.mkdirSync(join(root, ".docs"), { recursive: true })
  const folder = fs.mkdtempSync(join(root, ".docs/reference-"))
  try {
    for (const name of ["src", "package.json"]) fs.cpSync(join(root, name), join(folder, name), { recursive: true })
    const { compilerOptions } = JSON.parse(fs.readFileSync(join(root, "tsconfig.json"), "utf8"))
    const exclude = ["src/internal/**", "src/**/[a-z]*.ts"]
    fs.writeFileSync(
      join(folder, "docgen.json"),
      JSON.stringify({
        exclude,
        enforceVersion: false,
        // docgen's default resolves no package by its exports, and gives its types as `any`.
        parseCompilerOptions: { moduleResolution: "NodeNext", ...compilerOptions }
      })
    )
    const own = (file: string) => join(import.meta.dirname, file)
    const docgen = ["--require", own("ordered.cjs"), own("node_modules/@effect/docgen/bin.cjs")]
    execFileSync(process.execPath, docgen, { cwd: folder, stdio: "inherit" })
    const read = (module: string) => fs.readFileSync(join(folder, `docs/modules/${module}.ts.md`), "utf8")
    return new Map(publicModules.map((module) => [module, read(module)]))
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

/** The declaration of a class as its source has it, which docgen cuts off after the name. */
const declarationOf = (source: string, name: string): string => {
  const lines = source.split("\n")
  const start = lines.findIndex((line) => new RegExp(`^export class ${name}\\b`).test(line))
  const opens = lines.findIndex((line, index) => index >= start && /^\S(.*[^,(:\s])? \{\}?$/.test(line))
  const declaration = lines.slice(start, opens + 1).join("\n")
  if (declaration.endsWith("{}")) return declaration
  const closes = lines.indexOf("}", opens)
  const members = lines
    .slice(opens + 1, closes)
    .flatMap((line) => /^ {2}(?:get|readonly) \w.*?(?= \{$|$)/.exec(line) ?? [])
  return [declaration, ...members, "}"].join("\n")
}

const page = (module: string, text: string): string => {
  const source = fs.readFileSync(join(root, `src/${module}.ts`), "utf8")
  const name = module.slice(module.lastIndexOf("/") + 1)
  // The testing modules are exported by their barrel alone.
  const from = module.startsWith("testing/")
    ? `{ ${name} } from "effect-databricks/testing"`
    : `* as ${name} from "effect-databricks/${module}"`
  const body = text
    .slice(text.indexOf(" overview\n") + " overview\n".length)
    .replace(/^---\n+<h2.*<\/h2>\n+/m, "")
    .replace(/^---\n+/gm, "")
    // Once more, private ones included, what the declaration of their class has.
    .replaceAll(/^ *- \[.* \(property\)\].*\n/gm, "")
    .replaceAll(/^### .* \(property\)\n[^]*?(?=^#)/gm, "")
    .replaceAll(/^export declare class (\w+)(?: \{\n[^]*?^\})?$/gm, (_, name: string) => declarationOf(source, name))
  let fenced = false
  const lines = body.split("\n").map((line) => {
    if (line.startsWith("```")) fenced = !fenced
    return fenced ? line : line.replace(/^(#+) /, "#$1 ")
  })
  return `# ${name}\n\n\`import ${from}\`\n${lines.join("\n")}`
}

/** The first sentence of a page, which says what its module is. */
const summary = (page: string): string => page.split("\n\n")[2]!.replaceAll("\n", " ")

const index = (pages: ReadonlyMap<string, string>): string => {
  const entry = ([module, page]: [string, string]) => `- [${module}](${module}.md): ${summary(page)}`
  return `# Reference

Every public module, generated from its doc comments by \`npm run reference\`.

${[...pages].map(entry).join("\n")}
`
}

const pages = new Map([...generated()].map(([module, text]) => [module, page(module, text)]))
const files = new Map([["README.md", index(pages)], ...[...pages].map(([name, page]) => [`${name}.md`, page] as const)])

/** The first line in which the written page is not the generated one. */
const differenceOf = (name: string): ReadonlyArray<string> => {
  const file = join(output, name)
  const written = fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n") : []
  const generated = files.get(name)?.split("\n") ?? []
  const at = [...written, ...generated].findIndex((_, line) => written[line] !== generated[line])
  return at < 0 ? [] : [`docs/reference/${name}:${at + 1}\n- ${written[at] ?? ""}\n+ ${generated[at] ?? ""}`]
}

const { values } = parseArgs({ options: { check: { type: "boolean" } } })
if (values.check) {
  const names = new Set([...files.keys(), ...fs.globSync("**/*.md", { cwd: output })])
  const differences = [...names].flatMap(differenceOf)
  if (differences.length > 0) {
    console.error(`Run npm run reference: docs/reference differs from the sources\n${differences.join("\n")}`)
    process.exitCode = 1
  }
} else {
  fs.rmSync(output, { recursive: true, force: true })
  for (const [name, text] of files) {
    fs.mkdirSync(dirname(join(output, name)), { recursive: true })
    fs.writeFileSync(join(output, name), text)
  }
}
