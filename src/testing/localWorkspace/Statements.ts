import { Clock, Effect, Fiber, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { Cancellation, execute, type Login, type Outcome, type PostgresError, quoted } from "./PostgresSession.ts"
import type { Principal } from "./Principals.ts"
import * as Replies from "./Replies.ts"
import { scan } from "./SqlScanner.ts"
import { type Column, columnOf, formatValue, parameterTypeOf } from "./SqlTypes.ts"
import type { Warehouse } from "./Warehouses.ts"

export type State = "PENDING" | "RUNNING" | "SUCCEEDED" | "FAILED" | "CANCELED" | "CLOSED"

const TERMINAL: ReadonlySet<State> = new Set(["SUCCEEDED", "FAILED", "CANCELED", "CLOSED"])

export interface Parameter {
  readonly name: string
  readonly type?: string | undefined
  readonly value?: string | null | undefined
}

export interface Order {
  readonly owner: Principal
  readonly warehouse: Warehouse
  readonly sql: string
  readonly schema: string | undefined
  readonly parameters: ReadonlyArray<Parameter>
  readonly rowLimit: number | undefined
  readonly byteLimit: number | undefined
}

export interface Limits {
  readonly rowsPerChunk: number
  readonly inlineBytes: number
}

interface Chunk {
  readonly chunk_index: number
  readonly row_offset: number
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
}

interface Result {
  /** Undefined for DDL, which has no columns. */
  readonly columns: ReadonlyArray<Column> | undefined
  readonly chunks: ReadonlyArray<Chunk>
  readonly rowCount: number
  readonly truncated: boolean
}

/** A statement of the local workspace, and all that can be asked of it. */
export interface Statement {
  readonly id: string
  readonly owner: Principal
  readonly state: () => State
  readonly untilEnded: Effect.Effect<void>
  /** Returns when the statement has ended, or when the time is up: then false. */
  readonly ended: (within: number) => Effect.Effect<boolean>
  readonly cancel: Effect.Effect<void>
  readonly close: Effect.Effect<void>
  /** Keeps up the appearance of PENDING for this many polls. */
  readonly pretendPending: (polls: number) => void
  readonly poll: () => object
  readonly view: () => object
  readonly chunk: (index: number) => object | undefined
}

const NUM_AFFECTED_ROWS: Column = { name: "num_affected_rows", type_text: "BIGINT", type_name: "LONG", position: 0 }

const affectedRows = /^(?:INSERT \d+|UPDATE|DELETE|MERGE) (\d+)$/

const shape = (outcome: Outcome, order: Order, limits: Limits): Result | Replies.StatementError => {
  const affected = affectedRows.exec(outcome.tag)?.[1]
  if (outcome.fields === undefined && affected === undefined) {
    return { columns: undefined, chunks: [], rowCount: 0, truncated: false }
  }
  const fields = outcome.fields
  const columns = fields === undefined ? [NUM_AFFECTED_ROWS] : fields.map(columnOf)
  const all =
    fields === undefined
      ? [[affected ?? "0"]]
      : outcome.rows.map((row) =>
          row.map((value, i) => (value === null ? null : formatValue(value, fields[i]?.dataTypeOid ?? 0)))
        )
  let rows = order.rowLimit === undefined ? all : all.slice(0, order.rowLimit)
  let bytes = 0
  const fitting = rows.findIndex((row) => {
    bytes += Buffer.byteLength(JSON.stringify(row)) + 1
    return bytes > Math.min(order.byteLimit ?? Infinity, limits.inlineBytes)
  })
  if (fitting !== -1) {
    if ((order.byteLimit ?? Infinity) > limits.inlineBytes) return Replies.inlineLimitExceeded(limits.inlineBytes)
    rows = rows.slice(0, fitting)
  }
  const chunks: Array<Chunk> = []
  for (let offset = 0; offset < rows.length; offset += limits.rowsPerChunk) {
    chunks.push({
      chunk_index: chunks.length,
      row_offset: offset,
      rows: rows.slice(offset, offset + limits.rowsPerChunk)
    })
  }
  return { columns, chunks, rowCount: rows.length, truncated: rows.length < all.length }
}

const manifestOf = (result: Result) => ({
  format: "JSON_ARRAY",
  schema: {
    column_count: result.columns?.length ?? 0,
    ...(result.columns !== undefined && { columns: result.columns })
  },
  total_chunk_count: result.chunks.length,
  ...(result.chunks.length > 0 && {
    chunks: result.chunks.map(({ chunk_index, row_offset, rows }) => ({
      chunk_index,
      row_offset,
      row_count: rows.length
    }))
  }),
  ...(result.columns !== undefined && { total_row_count: result.rowCount }),
  truncated: result.truncated
})

/** Binds the named parameters, or says what is wrong with them. */
const bind = (order: Order) => {
  const given = new Map(order.parameters.map((parameter) => [parameter.name, parameter]))
  const typeOf = (name: string) => parameterTypeOf(given.get(name)?.type ?? "STRING")
  const scanned = scan(order.sql, (index, name) => {
    const cast = typeOf(name)?.cast
    return cast === undefined ? `$${index}` : `($${index}::${cast})`
  })
  const unbound = scanned.names.find((name) => !given.has(name))
  if (unbound !== undefined) return Replies.unboundParameter(unbound)
  return {
    sql: scanned.sql,
    types: scanned.names.map((name) => typeOf(name)?.oid ?? 0),
    values: scanned.names.map((name) => given.get(name)?.value ?? null),
    // One row more than wanted tells whether there were more.
    maxRows: order.rowLimit === undefined ? 0 : order.rowLimit + 1
  }
}

// Databricks ids look like UUIDs that begin with the time; only their being unique matters.
const newId = (now: number) =>
  `${now
    .toString(16)
    .padStart(12, "0")
    .replace(/^(.{8})/, "$1-")}-${randomBytes(8)
    .toString("hex")
    .replace(/^(.{4})(.{4})/, "$1-$2-")}`

/** Starts a statement as its owner and returns at once. */
export const start = (
  order: Order,
  login: Omit<Login, "parameters">,
  limits: Limits,
  scope: Scope.Scope
): Effect.Effect<Statement> =>
  Effect.gen(function* () {
    const id = newId(yield* Clock.currentTimeMillis)
    const cancellation = new Cancellation()
    let state: State = "PENDING"
    let error: Replies.StatementError | undefined
    let result: Result | undefined
    let pretended = 0

    // A statement that was closed or canceled meanwhile stays so.
    const fail = (reason: Replies.StatementError) => {
      if (TERMINAL.has(state)) return
      state = "FAILED"
      error = reason
    }
    const settle = (outcome: Outcome) => {
      if (TERMINAL.has(state)) return
      const shaped = shape(outcome, order, limits)
      if ("error_code" in shaped) return fail(shaped)
      result = shaped
      state = "SUCCEEDED"
    }
    const settleError = (failure: PostgresError) => {
      if (failure.code !== "57014" || !cancellation.requested) fail(Replies.fromPostgres(failure.code, failure.message))
      else if (!TERMINAL.has(state)) state = "CANCELED"
    }
    const started = () => {
      if (!TERMINAL.has(state)) state = "RUNNING"
    }
    const run = Effect.gen(function* () {
      const command = bind(order)
      if ("error_code" in command) return fail(command)
      yield* order.warehouse.start
      yield* order.warehouse.untilRunning
      const parameters = order.schema === undefined ? {} : { search_path: `${quoted(order.schema)}, public` }
      yield* execute({ ...login, parameters }, command, { cancellation, onStart: started }).pipe(
        Effect.match({ onSuccess: settle, onFailure: settleError })
      )
    })
    const fiber = yield* Effect.forkIn(run, scope)
    const untilEnded = Effect.suspend(() => (TERMINAL.has(state) ? Effect.void : Fiber.await(fiber)))

    const cancel = Effect.suspend(() => {
      if (TERMINAL.has(state)) return Effect.void
      cancellation.request()
      if (state === "RUNNING") return Effect.void
      // It has not reached Postgres, so nothing can have happened: it need not be waited for.
      state = "CANCELED"
      return Effect.asVoid(Fiber.interrupt(fiber))
    })

    const resultOf = (chunk: Chunk) => ({
      chunk_index: chunk.chunk_index,
      row_offset: chunk.row_offset,
      row_count: chunk.rows.length,
      ...(result?.chunks[chunk.chunk_index + 1] !== undefined && {
        next_chunk_index: chunk.chunk_index + 1,
        next_chunk_internal_link: `/api/2.0/sql/statements/${id}/result/chunks/${chunk.chunk_index + 1}?row_offset=${chunk.row_offset + chunk.rows.length}`
      }),
      data_array: chunk.rows
    })
    const shown = (): State => (pretended > 0 && state !== "CANCELED" && state !== "CLOSED" ? "PENDING" : state)
    const view = () => {
      const visible = shown()
      const first = result?.chunks[0]
      return {
        statement_id: id,
        status: {
          state: visible,
          ...(visible === "FAILED" &&
            error !== undefined && {
              error: { error_code: error.error_code, message: error.message },
              sql_state: error.sql_state
            })
        },
        ...(visible === "SUCCEEDED" &&
          result !== undefined && {
            manifest: manifestOf(result),
            result: first === undefined ? {} : resultOf(first)
          })
      }
    }
    return {
      id,
      owner: order.owner,
      state: shown,
      untilEnded,
      ended: (within) =>
        pretended > 0
          ? Effect.succeed(false)
          : Effect.map(Effect.timeoutOption(untilEnded, within), (done) => done._tag === "Some"),
      cancel,
      close: Effect.map(cancel, () => {
        state = "CLOSED"
        result = undefined
        pretended = 0
      }),
      pretendPending: (polls) => {
        pretended = polls
      },
      poll: () => {
        const now = view()
        if (pretended > 0) pretended--
        return now
      },
      view,
      chunk: (index) => {
        const chunk = result?.chunks[index]
        return chunk === undefined ? undefined : resultOf(chunk)
      }
    }
  })
