/** Reads types from the catalogue of the database: the format of their values, and the types of their parts. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Effect } from "effect"
import type { SqlError } from "effect/sql"

/** A type of the database. */
export interface Type {
  readonly oid: number
  /** The name, as Postgres formats it in a statement. */
  readonly name: string
  /** The type that a domain restricts; 0 for all others. */
  readonly base: number
  /** The type of the bounds of a range. */
  readonly subtype: number | null
  /** The built-in function of Postgres that encodes the values; `null` for an extension's own function. */
  readonly send: string | null
}

type Query = (
  sql: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<{ readonly rows: ReadonlyArray<object> }, SqlError.SqlError>

/** Returns the types with these oids, and the types of their parts. */
export const lookUp = (
  query: Query,
  oids: ReadonlyArray<number>
): Effect.Effect<ReadonlyArray<Type>, SqlError.SqlError> =>
  Effect.map(query(statement, [PgTypes.text(`{${oids.join(",")}}`)]), ({ rows }) => rows as ReadonlyArray<Type>)

const statement = `
  WITH RECURSIVE wanted (oid) AS (
    SELECT pg_catalog.unnest($1::pg_catalog.oid[])
    UNION
    SELECT part FROM wanted JOIN pg_catalog.pg_type t ON t.oid = wanted.oid CROSS JOIN LATERAL (
      SELECT t.typbasetype
      UNION ALL SELECT t.typelem
      UNION ALL SELECT rngsubtype FROM pg_catalog.pg_range WHERE rngtypid = t.oid
      UNION ALL SELECT atttypid FROM pg_catalog.pg_attribute
        WHERE t.typrelid <> 0 AND attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped
    ) AS parts (part) WHERE part <> 0
  )
  SELECT t.oid, pg_catalog.format_type(t.oid, NULL) AS name, t.typbasetype AS base, r.rngsubtype AS subtype,
    CASE p.prolang WHEN 12 THEN p.prosrc END AS send
  FROM wanted JOIN pg_catalog.pg_type t ON t.oid = wanted.oid
    LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
    LEFT JOIN pg_catalog.pg_proc p ON p.oid = t.typsend`
