/** The result of a statement, in chunks. */
import type { FieldDescription } from "@effect/sql-pg/PgProtocol"
import { appendFileSync, closeSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { encodings, type Format, type Row } from "./encodings.ts"
import * as Replies from "../http/replies.ts"
import { type Column, columnOf, formatValue } from "./types.ts"

/** The format and the limits of a result. */
export interface Shape {
  readonly disposition: "INLINE" | "EXTERNAL_LINKS"
  readonly format: Format
  readonly rowLimit: number | undefined
  readonly byteLimit: number | undefined
}

export interface Limits {
  readonly rowsPerChunk: number
  readonly inlineBytes: number
}

export interface Chunk {
  readonly chunk_index: number
  readonly row_offset: number
  readonly row_count: number
  readonly byte_count: number
  /** Returns the chunk in the format of the result. */
  readonly read: () => Uint8Array
}

export interface Result {
  /** `undefined` for DDL, which has no columns. */
  readonly columns: ReadonlyArray<Column> | undefined
  readonly chunks: ReadonlyArray<Chunk>
  readonly rowCount: number
  readonly truncated: boolean
}

/** Collects the rows of a statement, up to the limits of the result. */
export interface Collector {
  readonly row: (values: Row, fields: ReadonlyArray<FieldDescription>) => void
  readonly end: (fields: ReadonlyArray<FieldDescription> | undefined, tag: string) => Result | Replies.StatementError
  /** Discards the rows; no chunk can be read afterwards. */
  readonly discard: () => void
}

const numAffectedRows: Column = { name: "num_affected_rows", type_text: "BIGINT", type_name: "LONG", position: 0 }

const affectedRows = /^(?:INSERT \d+|UPDATE|DELETE|MERGE) (\d+)$/

/** Makes an unlinked file, which disappears with the process. */
const makeSpool = () => {
  let file: number | undefined
  let size = 0
  const open = () => {
    const directory = mkdtempSync(join(tmpdir(), "effect-databricks-result-"))
    const opened = openSync(join(directory, "chunks"), "ax+")
    rmSync(directory, { recursive: true })
    return opened
  }
  return {
    append: (bytes: Uint8Array) => {
      const opened = (file ??= open())
      const position = size
      // Synchronously, so that Postgres cannot run ahead of the disk.
      appendFileSync(opened, bytes)
      size += bytes.length
      return () => {
        const read = Buffer.alloc(bytes.length)
        readSync(opened, read, 0, read.length, position)
        return read
      }
    },
    close: () => {
      if (file !== undefined) closeSync(file)
      file = undefined
    }
  }
}

/** Collects the first chunk of a result in memory and the others in a file. */
export const collect = (shape: Shape, limits: Limits): Collector => {
  const encode = encodings[shape.format]
  const spool = makeSpool()
  const chunks: Array<Chunk> = []
  const inlineBytes = shape.disposition === "INLINE" ? limits.inlineBytes : Infinity
  let columns: ReadonlyArray<Column> | undefined
  let rows: Array<Row> = []
  let texts: Array<string> = []
  let rowCount = 0
  let bytes = 0
  let truncated = false
  let failure: Replies.StatementError | undefined

  const flush = () => {
    if (columns === undefined || rows.length === 0) return
    try {
      const encoded = encode(columns, rows, texts, chunks.length)
      chunks.push({
        chunk_index: chunks.length,
        row_offset: rowCount - rows.length,
        row_count: rows.length,
        byte_count: encoded.length,
        read: chunks.length === 0 ? () => encoded : spool.append(encoded)
      })
    } catch (cause) {
      failure = Replies.resultNotEncoded(shape.format, String(cause))
    }
    rows = []
    texts = []
  }
  const add = (row: Row) => {
    const text = JSON.stringify(row)
    bytes += Buffer.byteLength(text) + 1
    // The row that exceeds a limit is the first one omitted.
    truncated = bytes > (shape.byteLimit ?? Infinity) || rowCount === shape.rowLimit
    if (truncated) return
    if (bytes > inlineBytes) {
      failure = Replies.inlineLimitExceeded(limits.inlineBytes)
      return
    }
    rows.push(row)
    texts.push(text)
    if (++rowCount % limits.rowsPerChunk === 0) flush()
  }

  return {
    row: (values, fields) => {
      columns ??= fields.map(columnOf)
      if (failure !== undefined || truncated) return
      add(values.map((value, i) => (value === null ? null : formatValue(value, fields[i]?.dataTypeOid ?? 0))))
    },
    end: (fields, tag) => {
      const affected = affectedRows.exec(tag)?.[1]
      columns ??= fields?.map(columnOf)
      if (columns === undefined && affected !== undefined) {
        columns = [numAffectedRows]
        add([affected])
      }
      flush()
      return failure ?? { columns, chunks, rowCount, truncated }
    },
    discard: spool.close
  }
}

/** Returns the manifest of a result. It counts bytes only for external links. */
export const manifestOf = (result: Result, { disposition, format }: Shape) => {
  const external = disposition === "EXTERNAL_LINKS"
  return {
    format,
    schema: {
      column_count: result.columns?.length ?? 0,
      ...(result.columns !== undefined && { columns: result.columns })
    },
    total_chunk_count: result.chunks.length,
    ...(result.chunks.length > 0 && {
      chunks: result.chunks.map(({ chunk_index, row_offset, row_count, byte_count }) => ({
        chunk_index,
        row_offset,
        row_count,
        ...(external && { byte_count })
      }))
    }),
    ...(result.columns !== undefined && {
      total_row_count: result.rowCount,
      ...(external && { total_byte_count: result.chunks.reduce((sum, { byte_count }) => sum + byte_count, 0) })
    }),
    truncated: result.truncated
  }
}
