/**
 * Splices Arrow IPC streams into one: the first schema, then the batches of all streams, then one end.
 *
 * A dictionary of a later stream gets the id that its column has in the first. It replaces the earlier dictionary for the
 * batches that follow it, as the format allows.
 */
import * as Arrow from "@uwdata/flechette"

export interface Splicer {
  /** Returns what to pass on of the next bytes. Throws if they are not those of an Arrow stream with the same schema. */
  readonly push: (bytes: Uint8Array) => ReadonlyArray<Uint8Array>
  /** Ends a stream and returns the number of its rows. Throws if it is truncated. */
  readonly next: () => number
}

/** The end of a stream. */
export const end = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)

// A schema of 10000 columns takes about 2 MiB.
const maxMetadata = 16 * 1024 * 1024

const Header = { schema: 1, dictionary: 2, records: 3 }

export const make = (): Splicer => {
  let first: Uint8Array | undefined
  // Of the current stream.
  let ids: ReadonlyMap<number, number> = new Map()
  let begun = false
  let ended = false
  let rows = 0
  // Of the current message: its prefix with its metadata, then the rest of its body.
  let head = new Uint8Array(4)
  let filled = 0
  let body = 0

  const grow = (length: number) => {
    const larger = new Uint8Array(length)
    larger.set(head)
    head = larger
  }

  /** Reads a complete message up to its body. Returns whether to pass it on. */
  const opened = (prefix: number): boolean => {
    const message = messageOf(head, prefix)
    if (begun !== (message.header !== Header.schema)) throw new SyntaxError("A stream has one schema, at its beginning")
    begun = true
    body = message.bodyLength
    switch (message.header) {
      case Header.schema: {
        const isFirst = first === undefined
        // A copy: the reader owns what it got.
        first ??= head.slice()
        ids = idsOf(first, head)
        return isFirst
      }
      case Header.dictionary:
        message.rename(ids)
        return true
      case Header.records:
        rows += message.rows()
        return true
      default:
        throw new SyntaxError(`A stream of rows has no message of the type ${message.header}`)
    }
  }

  /** Handles a filled head. Returns it when it is complete and to be passed on. */
  const advance = (): Uint8Array | undefined => {
    const view = new DataView(head.buffer)
    const isModern = view.getInt32(0, true) === -1
    if (isModern && filled === 4) return void grow(8)
    // Before version 0.15 the length came first.
    const prefix = isModern ? 8 : 4
    const length = view.getInt32(prefix - 4, true)
    if (length < 0 || length > maxMetadata) throw new RangeError(`The metadata of a message has ${length} bytes`)
    if (length > 0 && filled === prefix) return void grow(prefix + length)
    ended = length === 0
    const passed = !ended && opened(prefix) ? head : undefined
    head = new Uint8Array(4)
    filled = 0
    return passed
  }

  return {
    push: (bytes) => {
      const passed: Array<Uint8Array> = []
      for (let at = 0; at < bytes.length;) {
        if (ended) throw new SyntaxError("A stream continues after its end")
        const part = bytes.subarray(at, at + (body > 0 ? body : head.length - filled))
        at += part.length
        if (body > 0) {
          body -= part.length
          passed.push(part)
          continue
        }
        head.set(part, filled)
        filled += part.length
        const whole = filled === head.length ? advance() : undefined
        if (whole !== undefined) passed.push(whole)
      }
      return passed
    },
    next: () => {
      if (!begun || body > 0 || filled > 0) throw new SyntaxError("A stream is truncated")
      const count = rows
      begun = false
      ended = false
      rows = 0
      return count
    }
  }
}

/** Reads the fields of a message, a flatbuffer, that its place in a stream depends on. */
const messageOf = (head: Uint8Array, prefix: number) => {
  const view = new DataView(head.buffer, prefix)
  const message = tableAt(view, view.getUint32(0, true))
  const header = message(1)
  /** The first field of the header, which is a number of 8 bytes in both kinds of batch. */
  const number = () => {
    const content = message(2)
    return content === undefined ? undefined : tableAt(view, content + view.getUint32(content, true))(0)
  }
  return {
    header: header === undefined ? 0 : view.getUint8(header),
    bodyLength: lengthAt(view, message(3)),
    /** Returns the number of rows of a record batch. */
    rows: () => lengthAt(view, number()),
    /** Changes the id of a dictionary batch. */
    rename: (ids: ReadonlyMap<number, number>) => {
      const at = number()
      const id = ids.get(lengthAt(view, at))
      if (id === undefined) return
      if (at === undefined) throw new TypeError("The dictionaries of the streams have different ids")
      view.setBigInt64(at, BigInt(id), true)
    }
  }
}

/** Returns the position of a field of a flatbuffer's table; `undefined` if it has its default. */
const tableAt = (view: DataView, table: number) => {
  const fields = table - view.getInt32(table, true)
  const size = view.getUint16(fields, true)
  return (index: number): number | undefined => {
    const entry = 4 + 2 * index
    const offset = entry < size ? view.getUint16(fields + entry, true) : 0
    return offset === 0 ? undefined : table + offset
  }
}

const lengthAt = (view: DataView, at: number | undefined): number => {
  const length = at === undefined ? 0 : Number(view.getBigInt64(at, true))
  if (!(length >= 0 && Number.isSafeInteger(length))) throw new RangeError(`A message has the length ${length}`)
  return length
}

/** Returns the ids of dictionaries that differ, each with the one of the first stream. Throws if the columns differ. */
const idsOf = (first: Uint8Array, other: Uint8Array): ReadonlyMap<number, number> => {
  if (Buffer.compare(first, other) === 0) return new Map()
  const [expected, columns] = [columnsOf(first), columnsOf(other)]
  if (columns.text !== expected.text) throw new TypeError("The streams have different schemas")
  return new Map(
    columns.ids.map((id, index) => [id, expected.ids[index]!] as const).filter(([id, same]) => id !== same)
  )
}

/** Returns the columns of a schema as text, without metadata, and the ids of their dictionaries in order. */
const columnsOf = (message: Uint8Array) => {
  const ids: Array<number> = []
  const text = JSON.stringify(Arrow.tableFromIPC(message).schema, (key, value) => {
    if (key === "metadata") return undefined
    if (key !== "id") return value
    if (!ids.includes(value)) ids.push(value)
    return ids.indexOf(value)
  })
  return { ids, text }
}
