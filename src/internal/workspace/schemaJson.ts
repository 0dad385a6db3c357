/** The types that a Schema accepts at each place of its JSON, and the reason for which it refused a value. */
import { type SchemaAST, SchemaIssue } from "effect"
import { isExact, isNumber, plain } from "./exactJson.ts"

/** `any` is also that of `Schema.Json`, and `json` only of it. */
export type Kind = "number" | "boolean" | "string" | "literal" | "list" | "object" | "any" | "json"

export interface Place {
  readonly takes: ReadonlySet<Kind>
  /** Whether it accepts text and no number. */
  readonly isText: boolean
  /** Whether its text becomes a Date or a DateTime. */
  readonly isMoment: boolean
  readonly field: (name: string) => Place
  readonly item: (index: number) => Place
}

/** Returns the place that this AST decodes. */
export const placeOf = (ast: SchemaAST.AST): Place => {
  const known = places.get(ast)
  if (known !== undefined) return known
  const place = make([ast])
  places.set(ast, place)
  return place
}

const places = new WeakMap<SchemaAST.AST, Place>()

const ofAll = (asts: ReadonlyArray<SchemaAST.AST>) => (asts.length === 1 ? placeOf(asts[0]!) : make(asts))

const make = (asts: ReadonlyArray<SchemaAST.AST>): Place => {
  const sources = asts.flatMap((ast) => sourcesOf(ast))
  const takes = new Set(sources.flatMap(({ ast }) => kindsOf(ast)))
  if (sources.some(({ ast, isEncoded }) => !isEncoded && representationOf(ast) === "effect/schema/Json")) {
    takes.add("json")
  }
  // Other names come from data, and have the place of an index signature.
  const names: ReadonlySet<PropertyKey> = new Set(
    sources.flatMap(({ ast }) => (ast._tag === "Objects" ? ast.propertySignatures.map(nameOf) : []))
  )
  const fields = new Map<string | undefined, Place>()
  const items = new Map<number, Place>()
  // From this index on, all elements share one place.
  const rest = Math.max(0, ...sources.map(({ ast }) => (ast._tag === "Arrays" ? ast.elements.length : 0)))
  return {
    takes,
    isText: (takes.has("string") || takes.has("literal")) && !takes.has("number") && !takes.has("any"),
    isMoment: sources.some((_) => _.isMoment),
    field: (name) => {
      const key = names.has(name) ? name : undefined
      return fields.get(key) ?? kept(fields, key, ofAll(sources.flatMap(({ ast }) => fieldsOf(ast, name))))
    },
    item: (index) => {
      const at = Math.min(index, rest)
      return items.get(at) ?? kept(items, at, ofAll(sources.flatMap(({ ast }) => itemsOf(ast, at))))
    }
  }
}

const nameOf = ({ name }: SchemaAST.PropertySignature) => name

const kept = <K, A>(map: Map<K, A>, key: K, value: A): A => {
  map.set(key, value)
  return value
}

interface Source {
  readonly ast: SchemaAST.AST
  readonly isMoment: boolean
  /** Whether the Schema is another one, which this one encodes: `Schema.Unknown` is encoded as `Schema.Json`. */
  readonly isEncoded: boolean
}

/** Returns the encoded sides; a union has several. */
const sourcesOf = (ast: SchemaAST.AST, isMoment = false, isEncoded = false): ReadonlyArray<Source> => {
  if (ast.encoding !== undefined) {
    const types = [ast, ...ast.encoding.map(({ to }) => to)]
    return sourcesOf(ast.encoding.at(-1)!.to, isMoment || types.some(isMomentType), true)
  }
  switch (ast._tag) {
    case "Union":
      return ast.types.flatMap((type) => sourcesOf(type, isMoment, isEncoded))
    case "Suspend":
      return sourcesOf(ast.thunk(), isMoment, isEncoded)
    default:
      return [{ ast, isMoment, isEncoded }]
  }
}

const moments = new Set<unknown>(["effect/schema/Date", "effect/schema/DateTimeUtc"])

const isMomentType = (ast: SchemaAST.AST) => moments.has(representationOf(ast))

const representationOf = ({ annotations }: SchemaAST.AST) =>
  (annotations?.["representation"] as { readonly id?: unknown } | undefined)?.id

const kindsOf = (ast: SchemaAST.AST): ReadonlyArray<Kind> => {
  switch (ast._tag) {
    case "Number":
      return ["number"]
    case "Boolean":
      return ["boolean"]
    case "String":
    case "TemplateLiteral":
      return ["string"]
    case "Literal":
      return kindsOfLiteral(ast.literal)
    case "Enum":
      return ast.enums.flatMap(([, value]) => kindsOfLiteral(value))
    case "Arrays":
      return ["list"]
    case "Objects":
      return ["object"]
    case "Null":
    case "Undefined":
    case "Void":
    case "Never":
      return []
    default:
      return ["any"]
  }
}

const kindsOfLiteral = (literal: unknown): ReadonlyArray<Kind> =>
  typeof literal === "number" ? ["number"] : typeof literal === "boolean" ? ["boolean"] : ["literal"]

const fieldsOf = (ast: SchemaAST.AST, name: string): ReadonlyArray<SchemaAST.AST> => {
  if (ast._tag !== "Objects") return []
  const property = ast.propertySignatures.find((_) => _.name === name)
  return property === undefined ? ast.indexSignatures.map(({ type }) => type) : [property.type]
}

const itemsOf = (ast: SchemaAST.AST, index: number): ReadonlyArray<SchemaAST.AST> => {
  if (ast._tag !== "Arrays") return []
  const element = ast.elements[index]
  return element === undefined ? ast.rest : [element]
}

/**
 * Adapts parsed JSON to this place, by mutation: numbers become text where the place accepts text, and times without a
 * zone are in UTC.
 */
export const fitted = (json: unknown, place: Place): unknown => {
  if (typeof json === "number") return place.isText ? plain(String(json)) : json
  if (typeof json === "string") return place.isMoment ? toUtc(json) : json
  if (Array.isArray(json)) {
    if (place.takes.has("list")) json.forEach((item, index) => (json[index] = fitted(item, place.item(index))))
  } else if (typeof json === "object" && json !== null && place.takes.has("object")) {
    for (const name of Object.keys(json)) {
      const value: unknown = json[name as keyof typeof json]
      const fit = fitted(value, place.field(name))
      // Assignment to a name like __proto__ would not define a property.
      if (fit !== value) Object.defineProperty(json, name, { value: fit })
    }
  }
  return json
}

/**
 * Adds UTC to a time without a zone, which Date.parse would read in the zone of the process. Other text is unchanged.
 */
export const toUtc = (text: string): string => {
  const [, sign, digits, rest, time = "T00:00", zone = "Z"] =
    /^([+-]?)(\d{4,7})(-\d\d-\d\d)([T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?$/.exec(text) ?? []
  if (digits === undefined) return text
  const year = Number(digits)
  const isPlain = year < 10_000 && sign !== "-"
  const written = `${isPlain ? "" : sign === "-" ? "-" : "+"}${String(year).padStart(isPlain ? 4 : 6, "0")}`
  return `${written}${rest}${time.replace(" ", "T")}${zone}`
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

/** Returns the path and the reason of a refusal, without the value, which is personal data. */
export const refusalOf = (
  issue: SchemaIssue.Issue,
  json: unknown,
  place: Place
): { readonly path: ReadonlyArray<PropertyKey>; readonly message: string } => {
  const { message = "it is something else", path: segments = [] } = format(issue).issues[0] ?? {}
  const path = segments.map((segment) => (typeof segment === "object" ? segment.key : segment))
  let at = place
  let value = json
  for (const key of path) {
    at = typeof key === "number" ? at.item(key) : at.field(String(key))
    value = typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined
  }
  if (!at.takes.has("number") || at.takes.has("string")) return { path, message }
  if (value === null) return { path, message: "null is not a number: use Schema.NullOr" }
  if (typeof value !== "string") return { path, message }
  return {
    path,
    message:
      isNumber(value) && !isExact(value)
        ? "the number has digits that a JavaScript number would lose: use Schema.BigInt, Schema.BigDecimal or Schema.String"
        : "the value is text and not a number"
  }
}
