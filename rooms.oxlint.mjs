// The lint rule `rooms/imports`: who may import what of src. Its options in .oxlintrc.json are one line a room.
import { dirname, relative, resolve } from "node:path"

const src = resolve(import.meta.dirname, "src")

const imports = {
  meta: { schema: false },
  create({ filename, options, report }) {
    const from = relative(src, filename)
    if (from.startsWith("..")) return {}
    const rooms = options.map((patterns) => patterns.map((pattern) => new RegExp(`^(${pattern})`)))
    const check = (node) => {
      const specifier = node.source?.value
      if (!String(specifier).startsWith(".") || node.importKind === "type" || node.exportKind === "type") return
      const to = relative(src, resolve(dirname(filename), specifier))
      if (rooms.some(([room, users]) => room.test(to) && !room.test(from) && !users.test(from))) {
        report({ node, message: `${from} may not import ${to}: .oxlintrc.json has the rooms` })
      }
    }
    return {
      ImportDeclaration: check,
      ImportExpression: check,
      ExportAllDeclaration: check,
      ExportNamedDeclaration: check
    }
  }
}

export default { meta: { name: "rooms" }, rules: { imports } }
