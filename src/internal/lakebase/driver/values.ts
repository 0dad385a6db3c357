/** Decodes the binary form of Postgres's send functions to values that JSON can represent. */
import { shortest } from "../../float32.ts"
import * as ExactJson from "../../workspace/exactJson.ts"

export type Read = (bytes: Uint8Array) => unknown

/** Reads a value of the type with this oid. */
export type Decode = (bytes: Uint8Array, oid: number) => unknown

export const notThis = new Error("The value has another shape")

export const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const decoder = new TextDecoder("utf-8", { fatal: true })

export const utf8 = (bytes: Uint8Array): string => decoder.decode(bytes)

export const uint32: Read = (bytes) => viewOf(bytes).getUint32(0)

export const int8: Read = (bytes) => String(viewOf(bytes).getBigInt64(0))

export const float4: Read = (bytes) => shortest(viewOf(bytes).getFloat32(0))

/** Decodes JSON, with numbers that JavaScript would round as text. */
export const json: Read = (bytes) => ExactJson.parse(utf8(bytes), (digits) => digits)

export const jsonb: Read = (bytes) => {
  if (bytes[0] !== 1) throw notThis
  return json(bytes.subarray(1))
}

export const bitString: Read = (bytes) =>
  Array.from(bytes.subarray(4), (byte) => byte.toString(2).padStart(8, "0"))
    .join("")
    .slice(0, viewOf(bytes).getInt32(0))

/** Decodes the instant at an offset, rounded down to milliseconds; the driver rounds towards the year 2000. */
export const instantAt = (bytes: Uint8Array, at: number): Date | string | undefined => {
  const high = int32(bytes, at)
  // Most instants can be computed without a bigint.
  if (high >= -(2 ** 20) && high < 2 ** 20) {
    return new Date(Math.floor((high * 2 ** 32 + (int32(bytes, at + 4) >>> 0)) / 1000) + year2000)
  }
  const microseconds = viewOf(bytes).getBigInt64(at)
  if (microseconds === 2n ** 63n - 1n) return "infinity"
  if (microseconds === -(2n ** 63n)) return "-infinity"
  const past = microseconds % 1000n
  const date = new Date(Number((microseconds - past) / 1000n) - (past < 0n ? 1 : 0) + year2000)
  return Number.isNaN(date.getTime()) ? undefined : date
}

export const instant: Read = (bytes) => {
  const value = instantAt(bytes, 0)
  if (value === undefined) throw notThis
  return value
}

// A DataView for each value would cost more than the rest of the decoding.
const int32 = (bytes: Uint8Array, at: number) =>
  (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!

export const year2000 = Date.UTC(2000)

/** Formats a date as Postgres does; the driver has years of 0 and below, which Postgres cannot read. */
export const date = (text: string): string => {
  const before = /^(-?\d+)(-\d\d-\d\d)$/.exec(text)
  const year = before === null ? 1 : Number(before[1])
  return year > 0 ? text : `${String(1 - year).padStart(4, "0")}${before![2]!} BC`
}

const two = (n: bigint) => String(n).padStart(2, "0")

const fraction = (microseconds: bigint) =>
  microseconds === 0n ? "" : `.${String(microseconds).padStart(6, "0").replace(/0+$/, "")}`

const clock = (microseconds: bigint) => {
  const seconds = microseconds / 1_000_000n
  const rest = fraction(microseconds % 1_000_000n)
  return `${two(seconds / 3600n)}:${two((seconds / 60n) % 60n)}:${two(seconds % 60n)}${rest}`
}

export const time = (bytes: Uint8Array): string => clock(viewOf(bytes).getBigInt64(0))

/** Includes the seconds of the offset, if any. */
export const timetz: Read = (bytes) => {
  const west = viewOf(bytes).getInt32(8)
  const offset = clock(BigInt(Math.abs(west)) * 1_000_000n).replace(/:00$/, "")
  return `${time(bytes)}${west > 0 ? "-" : "+"}${offset}`
}

/** Formats as ISO 8601, which Postgres can read. */
export const interval: Read = (bytes) => {
  const view = viewOf(bytes)
  const [microseconds, days, months] = [view.getBigInt64(0), view.getInt32(8), view.getInt32(12)]
  if (months === 2 ** 31 - 1) return "infinity"
  if (months === -(2 ** 31)) return "-infinity"
  const sign = microseconds < 0n ? "-" : ""
  const size = microseconds < 0n ? -microseconds : microseconds
  return `P${months}M${days}DT${sign}${size / 1_000_000n}${fraction(size % 1_000_000n)}S`
}

export const array =
  (decode: Decode): Read =>
  (bytes) => {
    const view = viewOf(bytes)
    const dimensions = view.getInt32(0)
    const element = view.getUint32(8)
    let offset = 12 + 8 * dimensions
    const values = (dimension: number): ReadonlyArray<unknown> =>
      Array.from({ length: view.getInt32(12 + 8 * dimension) }, () => {
        if (dimension < dimensions - 1) return values(dimension + 1)
        const size = view.getInt32(offset)
        const start = offset + 4
        offset = start + Math.max(size, 0)
        return size < 0 ? null : decode(bytes.subarray(start, offset), element)
      })
    return dimensions === 0 ? [] : values(0)
  }

/** Decodes the fields of a nested row, in order, because Postgres does not send their names. */
export const fields =
  (decode: Decode): Read =>
  (bytes) => {
    const view = viewOf(bytes)
    let offset = 4
    return Array.from({ length: view.getUint32(0) }, () => {
      const oid = view.getUint32(offset)
      const size = view.getInt32(offset + 4)
      const start = offset + 8
      offset = start + Math.max(size, 0)
      return size < 0 ? null : decode(bytes.subarray(start, offset), oid)
    })
  }

/** Formats a range as Postgres does, with times in ISO 8601. */
export const range =
  (decode: Decode, of: number): Read =>
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
      if (typeof value === "object" && !(value instanceof Date)) throw notThis
      return value instanceof Date ? value.toISOString() : quoted(String(value))
    }
    const lower = bound((flags & 8) !== 0)
    const upper = bound((flags & 16) !== 0)
    return `${flags & 2 ? "[" : "("}${lower},${upper}${flags & 4 ? "]" : ")"}`
  }

const quoted = (bound: string) =>
  /^$|["\\()[\],\s]/.test(bound) ? `"${bound.replace(/["\\]/g, (_) => _ + _)}"` : bound
