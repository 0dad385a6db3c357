/**
 * Decodes every value to one that JSON can represent, looks up unknown types, and fails the statement of a value that
 * cannot be decoded. The driver would end the connection at such a value, decode others as bytes or bigint, and guess
 * unknown types. Remove when "ends the connection …" and "reads ranges, bits …" fail in driver.upstream.test.ts.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Result } from "effect"
import type { Type } from "./catalogue.ts"
import * as Values from "./values.ts"

const { OID } = PgTypes

/** Types that the driver does not list: nested rows, and `void`. */
const [record, nothing] = [2249, 2278]

const texts = new Set([
  "bpcharsend",
  "charsend",
  "cstring_send",
  "enum_send",
  "namesend",
  "textsend",
  "unknownsend",
  "varcharsend",
  "xml_send"
])
const oids = /^(oid|xid|cid|reg\w+)send$/
const bits = new Set(["bit_send", "varbit_send"])
const arrays = new Set(["array_send", "int2vectorsend", "oidvectorsend"])

/** A value that was not decoded on arrival. */
export class Unread {
  readonly oid: number
  readonly bytes: Uint8Array
  constructor(oid: number, bytes: Uint8Array) {
    this.oid = oid
    // A copy, which does not retain the parser's whole buffer.
    this.bytes = bytes.slice()
  }
}

/**
 * The type of a value, or of a part of it, that is unknown, or that has a name but cannot be decoded. Thrown for each
 * value, and therefore not an `Error`, which would record a stack each time.
 */
export class NoReader {
  readonly oid: number
  readonly name: string
  constructor(oid: number, name = "") {
    this.oid = oid
    this.name = name
  }
}

export interface Types {
  readonly registry: PgTypes.Registry
  /** Records the columns of a result, before the driver reads its first row. */
  readonly expect: (columns: ReadonlyArray<number>) => void
  /** Returns the types that must be looked up. */
  readonly unknown: (oids: ReadonlyArray<number>) => ReadonlyArray<number>
  readonly define: (types: ReadonlyArray<Type>) => void
  /** Decodes a value that was not decoded on arrival. */
  readonly read: (value: Unread) => Result.Result<unknown, NoReader>
  /** Returns the number of values that were not decoded on arrival. */
  readonly unread: () => number
}

/** Makes the types of one session, because another database of the same name has other oids. */
export const make = (): Types => {
  const registry = PgTypes.makeRegistry()
  const readers = new Map<number, Values.Read>()
  const registered = new Set<number>()
  let unread = 0

  /** Returns our reader of a type, if it is known and the driver's does not serve. */
  const readerFor = (oid: number): Values.Read | undefined =>
    readers.get(oid) ?? scalars.get(oid) ?? (listed.has(oid) ? array : oid === record ? fields : undefined)

  const decode: Values.Decode = (bytes, oid) => {
    const read = readerFor(oid)
    if (read !== undefined) return read(bytes)
    if (!builtIn.has(oid)) throw new NoReader(oid)
    return Result.getOrThrow(PgTypes.decode(bytes, oid, 1))
  }

  /** Stores a value for later decoding. */
  const put = (oid: number, bytes: Uint8Array) => {
    unread++
    return new Unread(oid, bytes)
  }

  const register = (oid: number, read: Values.Read = (bytes) => decode(bytes, oid)) => {
    registered.add(oid)
    registry.register<unknown>(oid, {
      decode: (bytes) => {
        try {
          return Result.succeed(read(bytes))
        } catch {
          return Result.succeed(put(oid, bytes))
        }
      },
      encode: (value) => PgTypes.encode(value, oid, encoders)
    })
  }

  const array = Values.array(decode)
  const fields = Values.fields(decode)

  // Decoded in place, because they are frequent.
  for (const oid of [OID.timestamp, OID.timestamptz]) {
    const read = (bytes: Uint8Array, at: number) =>
      Result.succeed(Values.instantAt(bytes, at) ?? put(oid, bytes.subarray(at, at + 8)))
    registered.add(oid)
    registry.register<unknown>(oid, { ...instant, decode: (bytes) => read(bytes, 0), read })
  }

  const readerOf = ({ base, name, oid, send, subtype }: Type): Values.Read => {
    if (base !== 0) return (bytes) => decode(bytes, base)
    if (send === "range_send" && subtype !== null) return Values.range(decode, subtype)
    if (send === "record_send") return fields
    if (send !== null) {
      if (arrays.has(send)) return array
      if (texts.has(send)) return Values.utf8
      if (bits.has(send)) return Values.bitString
      if (oids.test(send)) return Values.uint32
    }
    return () => {
      throw new NoReader(oid, name)
    }
  }

  return {
    registry,
    expect: (columns) => {
      for (const oid of columns) {
        if (registered.has(oid)) continue
        const read = readerFor(oid)
        if (read !== undefined || !builtIn.has(oid)) register(oid, read)
      }
    },
    unknown: (oids) => oids.filter((oid) => readerFor(oid) === undefined && !builtIn.has(oid)),
    define: (types) => {
      for (const type of types) {
        if (!readers.has(type.oid) && !builtIn.has(type.oid)) readers.set(type.oid, readerOf(type))
      }
    },
    read: ({ bytes, oid }) =>
      Result.try({
        try: () => decode(bytes, oid),
        catch: (error) => (error instanceof NoReader ? error : new NoReader(oid, nameOf.get(oid) ?? `OID ${oid}`))
      }),
    unread: () => unread
  }
}

/** Our readers of built-in types. A session registers those that it meets, because most meet few. */
const scalars: ReadonlyMap<number, Values.Read> = new Map<number, Values.Read>([
  [OID.int8, Values.int8],
  [OID.float4, Values.float4],
  [OID.json, Values.json],
  [OID.jsonb, Values.jsonb],
  [OID.date, (bytes) => Values.date(String(Result.getOrThrow(PgTypes.decode(bytes, OID.date, 1))))],
  [OID.timestamp, Values.instant],
  [OID.timestamptz, Values.instant],
  [OID.time, Values.time],
  [OID.timetz, Values.timetz],
  [OID.interval, Values.interval],
  [nothing, Values.utf8]
])

/** The built-in types of arrays. */
const listed: ReadonlySet<number> = new Set(
  Object.entries(OID).flatMap(([name, oid]) => (name.endsWith("Array") ? [oid] : []))
)

const builtIn: ReadonlySet<number> = new Set(Object.values(OID))

const nameOf: ReadonlyMap<number, string> = new Map(Object.entries(OID).map(([name, oid]) => [oid, name]))

const instant: PgTypes.Codec<unknown> = {
  decode: (bytes) => Result.succeed(Values.instantAt(bytes, 0)),
  // The driver's number of microseconds rounds before 1684 and after 2255.
  encode: (value) => {
    if (!(value instanceof Date)) return PgTypes.encode(value, OID.timestamptz)
    const bytes = new Uint8Array(8)
    Values.viewOf(bytes).setBigInt64(0, BigInt(value.getTime() - Values.year2000) * 1000n)
    return Result.succeed(bytes)
  }
}

/** The driver's encoders, also for arrays, except for the types that it formats differently. */
const encoders = PgTypes.makeRegistry()
for (const oid of [OID.timestamp, OID.timestamptz]) encoders.register(oid, instant)
