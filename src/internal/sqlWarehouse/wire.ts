/** The requests and responses of the statement execution API. */
import { Schema } from "effect"
import { absent } from "../workspace/absent.ts"

/** The body of `POST /api/2.0/sql/statements`. */
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

/** `INLINE`: in the responses, up to 25 MiB. `EXTERNAL_LINKS`: in a storage, of any size. */
export type Disposition = "INLINE" | "EXTERNAL_LINKS"

export const Format = Schema.Literals(["JSON_ARRAY", "ARROW_STREAM"])

export type Format = typeof Format.Type

export const Column = Schema.Struct({
  name: Schema.String,
  /** The SQL type, such as `DECIMAL(10,2)` or `ARRAY<STRING>`. */
  type_text: Schema.String,
  /** The API's name of the type, such as `LONG` for BIGINT, or `DECIMAL`. */
  type_name: Schema.String
})

/** The text of each value, in the format of JSON_ARRAY. */
export type TextRow = ReadonlyArray<string | null>

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const place = {
  chunk_index: absent(Count),
  row_offset: absent(Count),
  row_count: absent(Count),
  next_chunk_index: absent(Count)
}

export type Place = Partial<{ [Name in keyof typeof place]: (typeof place)[Name]["Type"] }>

export const Link = Schema.Struct({
  ...place,
  external_link: Schema.String,
  expiration: absent(Schema.String),
  http_headers: absent(Schema.Record(Schema.String, Schema.String))
})

export type Link = typeof Link.Type

export const Chunk = Schema.Struct({
  ...place,
  // Rows are checked one by one on reading, at a tenth of the cost of a Schema.
  data_array: absent(Schema.Array(Schema.Unknown)),
  /** An Arrow stream in base64. */
  attachment: absent(Schema.String),
  external_links: absent(Schema.Array(Link))
})

export type Chunk = typeof Chunk.Type

export const Manifest = Schema.Struct({
  format: absent(Format),
  schema: Schema.Struct({ columns: absent(Schema.Array(Column)) }),
  total_chunk_count: absent(Count),
  total_row_count: absent(Count),
  chunks: absent(Schema.Array(Schema.Struct({ byte_count: absent(Count) }))),
  truncated: absent(Schema.Boolean)
})

export type Manifest = typeof Manifest.Type

export const State = Schema.Literals(["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "CLOSED"])

export const Answer = Schema.Struct({
  statement_id: Schema.String,
  status: Schema.Struct({
    state: State,
    error: absent(Schema.Struct({ error_code: absent(Schema.String), message: absent(Schema.String) })),
    sql_state: absent(Schema.String)
  }),
  manifest: absent(Manifest),
  result: absent(Chunk)
})

export type Answer = typeof Answer.Type
