/**
 * The driver ends the connection at a value that it cannot decode, and reads others as bytes, or as bigint, which JSON
 * does not have. Here every value that is decoded reaches JSON, and one that is not fails its statement. Goes when "ends
 * the connection …" and "reads ranges, bits …" fail in driver.upstream.test.ts.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Effect, Result, Stream } from "effect"
import { SqlError } from "effect/sql"

const { OID } = PgTypes

/** Of the types that Postgres has from the start, those whose binary form is text, and those whose is an oid. */
const texts: ReadonlySet<number> = new Set([18, 142, 194, 705, 1790, 2275, 2278])
const oids: ReadonlySet<number> = new Set([24, 28, 29, 2202, 2203, 2204, 2206, 3734, 3769, 4089, 4096, 4191])
const bits: ReadonlySet<number> = new Set([1560, 1562])
const ranges: ReadonlyMap<number, number> = new Map([
  [3904, OID.int4],
  [3906, OID.numeric],
  [3908, OID.timestamp],
  [3910, OID.timestamptz],
  [3912, OID.date],
  [3926, OID.int8]
])
const record = 2249
/** Types that were created in the database have this oid or a higher one. */
const firstCreated = 16_384

type Read = (bytes: Uint8Array) => unknown

export interface Types {
  readonly registry: PgTypes.Registry
  /** Takes notice of the columns of a result, before the driver reads its first row. */
  readonly learn: (result: PgProtocol.RowDescription) => void
  /** Says that a statement begins. */
  readonly reset: () => void
  /** The failure of the statement, if one of its values could not be decoded. */
  readonly failure: () => SqlError.SqlError | undefined
}

export type Queries = Pick<PgConnection.PgConnection, "query" | "queryValues" | "stream">

/** Fails the statements whose values cannot be decoded. */
export const checked = (session: Queries, { reset, failure }: Types): Queries => {
  const check = <A>(query: Effect.Effect<A, SqlError.SqlError>) =>
    Effect.andThen(
      Effect.sync(reset),
      Effect.flatMap(query, (result) => {
        const error = failure()
        return error === undefined ? Effect.succeed(result) : Effect.fail(error)
      })
    )
  return {
    query: (sql, params, prepare) => check(session.query(sql, params, prepare)),
    queryValues: (sql, params, prepare) => check(session.queryValues(sql, params, prepare)),
    stream: (sql, params) =>
      Stream.suspend(() => {
        reset()
        return Stream.mapArrayEffect(session.stream(sql, params), (rows) => {
          const error = failure()
          return error === undefined ? Effect.succeed(rows) : Effect.fail(error)
        })
      })
  }
}

/** For one session, which runs one statement at a time. */
export const make = (): Types => {
  const registry = PgTypes.makeRegistry()
  const known = new Set<number>(Object.values(OID))
  let undecodable: number | undefined

  const register = (oid: number, read: Read, encode?: (value: unknown) => unknown) =>
    registry.register<unknown>(oid, {
      decode: (bytes) => {
        try {
          return Result.succeed(read(bytes))
        } catch {
          undecodable ??= oid
          return Result.succeed(undefined)
        }
      },
      encode: (value) => PgTypes.encode(encode === undefined ? value : encode(value), oid)
    })

  const decode = (bytes: Uint8Array, oid: number) => {
    learn(oid)
    return Result.getOrThrow(PgTypes.decode(bytes, oid, 1, registry))
  }

  const array: Read = (bytes) => {
    const view = viewOf(bytes)
    const dimensions = view.getInt32(0)
    const element = view.getUint32(8)
    if (dimensions < 0 || dimensions > 6 || view.getUint32(4) > 1 || element === 0) throw notThis
    let offset = 12 + 8 * dimensions
    const values = (dimension: number): ReadonlyArray<unknown> => {
      const length = view.getInt32(12 + 8 * dimension)
      if (length < 1) throw notThis
      return Array.from({ length }, () => {
        if (dimension < dimensions - 1) return values(dimension + 1)
        const size = view.getInt32(offset)
        const start = offset + 4
        offset = start + Math.max(size, 0)
        return size < 0 ? null : decode(bytes.subarray(start, offset), element)
      })
    }
    const result = dimensions === 0 ? [] : values(0)
    if (offset !== bytes.length) throw notThis
    return result
  }

  /** The fields of a row in a row, in order: their names are not sent. */
  const fields: Read = (bytes) => {
    const view = viewOf(bytes)
    const count = view.getUint32(0)
    if (count > 1_664) throw notThis
    let offset = 4
    const result = Array.from({ length: count }, () => {
      const oid = view.getUint32(offset)
      const size = view.getInt32(offset + 4)
      const start = offset + 8
      offset = start + Math.max(size, 0)
      return size < 0 ? null : decode(bytes.subarray(start, offset), oid)
    })
    if (offset !== bytes.length) throw notThis
    return result
  }

  /** As Postgres writes it, with times in ISO 8601. */
  const range =
    (of: number): Read =>
    (bytes) => {
      const [flags = 0] = bytes
      if ((flags & 1) !== 0) return "empty"
      const view = viewOf(bytes)
      let offset = 1
      const bound = (isInfinite: boolean) => {
        if (isInfinite) return ""
        const start = offset + 4
        offset = start + view.getInt32(offset)
        const value = decode(bytes.subarray(start, offset), of)
        return value instanceof Date ? value.toISOString() : String(value)
      }
      const lower = bound((flags & 8) !== 0)
      const upper = bound((flags & 16) !== 0)
      return `${flags & 2 ? "[" : "("}${lower},${upper}${flags & 4 ? "]" : ")"}`
    }

  // Nothing says what a type is that was created in the database; its arrays and rows look like no others.
  const created: Read = (bytes) => {
    const before = undecodable
    for (const read of [array, fields]) {
      try {
        return read(bytes)
      } catch {
        undecodable = before
      }
    }
    return printable(bytes)
  }

  const readerOf = (oid: number): Read => {
    const element = ranges.get(oid)
    if (element !== undefined) return range(element)
    if (oid === record) return fields
    if (texts.has(oid)) return utf8
    if (oids.has(oid)) return (bytes) => viewOf(bytes).getUint32(0)
    if (bits.has(oid)) return bitString
    return oid < firstCreated ? array : created
  }

  const learn = (oid: number) => {
    if (known.has(oid)) return
    known.add(oid)
    register(oid, readerOf(oid))
  }

  register(
    OID.int8,
    (bytes) => String(viewOf(bytes).getBigInt64(0)),
    (value) => (typeof value === "string" ? BigInt(value) : value)
  )
  register(OID.time, (bytes) => clock(viewOf(bytes).getBigInt64(0)))
  register(OID.interval, interval)
  for (const [name, oid] of Object.entries(OID)) if (name.endsWith("Array")) register(oid, array)

  return {
    registry,
    learn: ({ fields }) => fields.forEach(({ dataTypeOid }) => learn(dataTypeOid)),
    reset: () => {
      undecodable = undefined
    },
    failure: () => (undecodable === undefined ? undefined : failed(undecodable))
  }
}

const notThis = new Error("The value has another shape")

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const decoder = new TextDecoder("utf-8", { fatal: true })

const utf8: Read = (bytes) => decoder.decode(bytes)

// Labels and words have none of the characters that binary values are full of.
const printable: Read = (bytes) => {
  const text = decoder.decode(bytes)
  // oxlint-disable-next-line no-control-regex
  if (/[\0-\x08\x0e-\x1f\x7f]/.test(text)) throw notThis
  return text
}

const bitString: Read = (bytes) =>
  Array.from(bytes.subarray(4), (byte) => byte.toString(2).padStart(8, "0"))
    .join("")
    .slice(0, viewOf(bytes).getInt32(0))

const two = (n: bigint) => String(n).padStart(2, "0")

const fraction = (microseconds: bigint) =>
  microseconds === 0n ? "" : `.${String(microseconds).padStart(6, "0").replace(/0+$/, "")}`

const clock = (microseconds: bigint) => {
  const seconds = microseconds / 1_000_000n
  const rest = fraction(microseconds % 1_000_000n)
  return `${two(seconds / 3600n)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}${rest}`
}

/** ISO 8601, which Postgres reads too. */
const interval: Read = (bytes) => {
  const view = viewOf(bytes)
  const [microseconds, days, months] = [view.getBigInt64(0), view.getInt32(8), view.getInt32(12)]
  if (months === 2 ** 31 - 1) return "infinity"
  if (months === -(2 ** 31)) return "-infinity"
  const sign = microseconds < 0n ? "-" : ""
  const size = microseconds < 0n ? -microseconds : microseconds
  return `P${months}M${days}DT${sign}${size / 1_000_000n}${fraction(size % 1_000_000n)}S`
}

const failed = (oid: number) =>
  new SqlError.SqlError({
    reason: new SqlError.UnknownError({
      cause: new PgTypes.CodecError({ message: `No codec for the type with the OID ${oid}` }),
      message: `A column's type (OID ${oid}) cannot be decoded: cast it to text`,
      operation: "execute"
    })
  })
