/** What the statement execution API sends and is sent. */
import { Schema } from "effect"

/** What the API calls an order: `POST /api/2.0/sql/statements`. */
export interface Order {
  readonly statement: string
  readonly warehouse_id: string
  readonly catalog: string | undefined
  readonly schema: string | undefined
  readonly row_limit: number | undefined
  readonly parameters: ReadonlyArray<{
    readonly name: string
    readonly type: string | undefined
    readonly value: string | null
  }>
}

/** `INLINE`: in the answers themselves, 25 MiB at most. `EXTERNAL_LINKS`: in a storage, of any size. */
export type Disposition = "INLINE" | "EXTERNAL_LINKS"

export const Format = Schema.Literals(["JSON_ARRAY", "ARROW_STREAM"])

export type Format = typeof Format.Type

export const Column = Schema.Struct({
  name: Schema.String,
  /** Such as `DECIMAL(10,2)` or `ARRAY<STRING>`. */
  type_text: Schema.String,
  /** Such as `LONG` for BIGINT, and `DECIMAL`. */
  type_name: Schema.String
})

/** The text of each value, as JSON_ARRAY has it. */
export type TextRow = ReadonlyArray<string | null>

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const place = {
  chunk_index: Schema.optional(Count),
  row_offset: Schema.optional(Count),
  row_count: Schema.optional(Count),
  next_chunk_index: Schema.optional(Schema.NullOr(Count))
}

export type Place = Partial<{ [Name in keyof typeof place]: (typeof place)[Name]["Type"] }>

export const Link = Schema.Struct({
  ...place,
  external_link: Schema.String,
  expiration: Schema.optional(Schema.String),
  http_headers: Schema.optional(Schema.NullOr(Schema.Record(Schema.String, Schema.String)))
})

export type Link = typeof Link.Type

export const Chunk = Schema.Struct({
  ...place,
  // Rows are checked one by one when they are read, at a tenth of the cost of a Schema.
  data_array: Schema.optional(Schema.NullOr(Schema.Array(Schema.Unknown))),
  /** An Arrow stream in base64. */
  attachment: Schema.optional(Schema.NullOr(Schema.String)),
  external_links: Schema.optional(Schema.NullOr(Schema.Array(Link)))
})

export type Chunk = typeof Chunk.Type

export const Manifest = Schema.Struct({
  format: Schema.optional(Format),
  schema: Schema.Struct({ columns: Schema.optional(Schema.Array(Column)) }),
  total_chunk_count: Schema.optional(Count),
  total_row_count: Schema.optional(Count),
  chunks: Schema.optional(Schema.Array(Schema.Struct({ byte_count: Schema.optional(Count) }))),
  truncated: Schema.optional(Schema.Boolean)
})

export type Manifest = typeof Manifest.Type

export const State = Schema.Literals(["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "CLOSED"])

export const Answer = Schema.Struct({
  statement_id: Schema.String,
  status: Schema.Struct({
    state: State,
    error: Schema.optional(
      Schema.Struct({ error_code: Schema.optional(Schema.String), message: Schema.optional(Schema.String) })
    ),
    sql_state: Schema.optional(Schema.String)
  }),
  manifest: Schema.optional(Manifest),
  result: Schema.optional(Chunk)
})

export type Answer = typeof Answer.Type
