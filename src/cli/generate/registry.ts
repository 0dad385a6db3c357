/** Writes AppKit's `QueryRegistry` for front ends, with the types that the JSON route delivers. */
import type { Parameter } from "../../Queries.ts"
import { type Document, entriesBy, header, importOf } from "./document.ts"
import { byKey } from "./module.ts"
import { indented, property } from "./types.ts"

const augmented = '"@databricks/appkit-ui/react"'

export const ofRegistry: Document = {
  entryOf: ({ key, parameters }, columns) => {
    const fields = [
      `name: ${JSON.stringify(key)}`,
      `parameters: ${object(parameters.map((_) => [_.name, markerOf(_), _.default !== undefined]))}`,
      // The JSON of a result has the text of each value, whatever its type.
      `result: Array<${object(columns.map(({ name }) => [name, "string | null", false]))}>`
    ]
    return indented(indented(`${property(key)}: {\n${indented(fields.join("\n"))}\n}`))
  },
  textOf: (entries) => {
    const sources = [...entries]
      .toSorted(byKey)
      .map(([, source]) => `${source}\n`)
      .join("")
    const used = [...new Set(Object.values(markers))].toSorted().filter((marker) => sources.includes(marker))
    const imported = used.length === 0 ? "" : `${importOf(`type { ${used.join(", ")} }`, "@databricks/appkit-ui/js")}\n`
    return `${header}${imported}import ${augmented}\n\ndeclare module ${augmented} {\n  interface QueryRegistry {\n${sources}  }\n}\n`
  },
  entriesIn: (text) => entriesBy(text, /^ {4}(?<key>["'][\w-]+["']|[\w$]+): \{\n(?: {6}.*\n)*? {4}\};?$/gm)
}

const object = (fields: ReadonlyArray<readonly [name: string, type: string, isOptional: boolean]>) =>
  fields.length === 0
    ? "{}"
    : `{\n${indented(fields.map(([name, type, isOptional]) => `${property(name)}${isOptional ? "?" : ""}: ${type}`).join("\n"))}\n}`

/** Returns the type of the value for a parameter. AppKit has no marker for a list or a TIMESTAMP_NTZ. */
const markerOf = ({ default: absent, isList, type }: Parameter) => {
  const [name = ""] = /^\w+/.exec(type) ?? []
  const marker = isList ? "ReadonlyArray<string>" : (markers[name] ?? markers["STRING"]!)
  return absent === undefined ? marker : `${marker} | null`
}

const markers: { readonly [type: string]: string } = {
  STRING: "SQLStringMarker",
  BOOLEAN: "SQLBooleanMarker",
  TINYINT: "SQLNumberMarker",
  SMALLINT: "SQLNumberMarker",
  INT: "SQLNumberMarker",
  BIGINT: "SQLNumberMarker",
  FLOAT: "SQLNumberMarker",
  DOUBLE: "SQLNumberMarker",
  DECIMAL: "SQLNumberMarker",
  DATE: "SQLDateMarker",
  TIMESTAMP: "SQLTimestampMarker",
  BINARY: "SQLBinaryMarker"
}
