/** Runs the statements of a warehouse in Postgres, each as its owner. */
import { Clock, Effect, Fiber, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import type { Format } from "./encodings.ts"
import type { ExternalLinks } from "./externalLinks.ts"
import {
  type Command,
  execute,
  type Login,
  makeCancellation,
  type Outcome,
  type PostgresError,
  quoted
} from "../postgres/session.ts"
import type { Principal } from "../identity/principals.ts"
import * as Replies from "../http/replies.ts"
import type { View } from "../../LocalMetricView.ts"
import { translate } from "./metricViews.ts"
import * as Results from "./results.ts"
import * as Describe from "./describe.ts"
import { scan } from "./scanner.ts"
import { parameterTypeOf } from "./types.ts"
import type { Warehouse } from "./warehouses.ts"

export type State = "PENDING" | "RUNNING" | "SUCCEEDED" | "FAILED" | "CANCELED" | "CLOSED"

const terminal: ReadonlySet<State> = new Set(["SUCCEEDED", "FAILED", "CANCELED", "CLOSED"])

export interface Parameter {
  readonly name: string
  readonly type?: string | undefined
  readonly value?: string | null | undefined
}

export interface Order extends Results.Shape {
  readonly owner: Principal
  readonly warehouse: Warehouse
  readonly sql: string
  readonly schema: string | undefined
  readonly parameters: ReadonlyArray<Parameter>
}

/** A statement of the local workspace. */
export interface Statement {
  readonly id: string
  readonly owner: Principal
  readonly format: Format
  readonly state: () => State
  readonly error: () => Replies.StatementError | undefined
  readonly rowCount: () => number
  readonly isTruncated: () => boolean
  readonly untilEnded: Effect.Effect<void>
  /** Waits for the end of the statement. Returns `false` if it has not ended within this time. */
  readonly ended: (within: number) => Effect.Effect<boolean>
  readonly cancel: Effect.Effect<void>
  readonly close: Effect.Effect<void>
  /** Reports PENDING for this many polls. */
  readonly pretendPending: (polls: number) => void
  readonly poll: () => object
  readonly view: () => object
  readonly chunk: (index: number) => object | undefined
  /** Returns the bytes of a chunk, for its link. */
  readonly download: (index: number) => Uint8Array | undefined
  /** Discards the result. */
  readonly discard: () => void
}

/** Binds the named parameters, or returns the mistake in them. */
const bind = (order: Order, views: ReadonlyArray<View>) => {
  const sql = translate(order.sql, views)
  if (typeof sql !== "string") return sql
  const given = new Map(order.parameters.map((parameter) => [parameter.name, parameter]))
  const declared = (name: string) => given.get(name)?.type ?? "STRING"
  const typeOf = (name: string) => parameterTypeOf(declared(name))
  const described = Describe.queryOf(sql)
  const scanned = scan(described ?? sql, (index, name) => {
    const cast = typeOf(name)?.cast
    return cast === undefined ? `$${index}` : `($${index}::${cast})`
  })
  const unbound = scanned.names.find((name) => !given.has(name))
  if (unbound !== undefined) return Replies.unboundParameter(unbound)
  return {
    sql: scanned.sql,
    // A filter compares a DATE with a STRING, which Databricks casts, and Postgres only if it has no type.
    types: scanned.names.map((name) =>
      sql !== order.sql && declared(name) === "STRING" ? 0 : (typeOf(name)?.oid ?? 0)
    ),
    values: scanned.names.map((name) => given.get(name)?.value ?? null),
    // One row more than the limit shows whether there were more.
    maxRows: order.rowLimit === undefined ? 0 : order.rowLimit + 1,
    describes: described !== undefined
  }
}

// Databricks ids look like UUIDs that begin with the time; only uniqueness matters.
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
  options: {
    readonly limits: Results.Limits
    readonly links: ExternalLinks
    readonly metricViews: ReadonlyArray<View>
    readonly scope: Scope.Scope
  }
): Effect.Effect<Statement> =>
  Effect.gen(function* () {
    const id = newId(yield* Clock.currentTimeMillis)
    const cancellation = makeCancellation()
    let state: State = "PENDING"
    let error: Replies.StatementError | undefined
    let result: Results.Result | undefined
    const collector = Results.collect(order, options.limits)
    let pretended = 0

    // A statement that was closed or canceled meanwhile keeps that state.
    const fail = (reason: Replies.StatementError) => {
      if (terminal.has(state)) return
      state = "FAILED"
      error = reason
    }
    const discard = () => {
      result = undefined
      collector.discard()
    }
    const settle = (outcome: Outcome) => {
      if (terminal.has(state)) return
      const collected = collector.end(outcome.fields, outcome.tag)
      if ("error_code" in collected) return fail(collected)
      result = collected
      state = "SUCCEEDED"
    }
    const settleError = (failure: PostgresError, { describes, sql }: Command) => {
      if (failure.code !== "57014" || !cancellation.requested())
        fail(Replies.fromPostgres(failure.code, describes === true ? Describe.located(failure, sql) : failure.message))
      else if (!terminal.has(state)) state = "CANCELED"
    }
    const started = () => {
      if (!terminal.has(state)) state = "RUNNING"
    }
    const run = Effect.gen(function* () {
      const command = bind(order, options.metricViews)
      if ("error_code" in command) return fail(command)
      yield* order.warehouse.start
      yield* order.warehouse.untilRunning
      const parameters = order.schema === undefined ? {} : { search_path: `${quoted(order.schema)}, public` }
      yield* execute({ ...login, parameters }, command, { cancellation, onStart: started, onRow: collector.row }).pipe(
        Effect.match({
          onSuccess: (outcome) => settle(command.describes ? Describe.outcomeOf(outcome, collector) : outcome),
          onFailure: (failure) => settleError(failure, command)
        })
      )
    }).pipe(Effect.onExit(() => Effect.sync(() => result ?? discard())))
    const fiber = yield* Effect.forkIn(run, options.scope)
    const untilEnded = Effect.suspend(() => (terminal.has(state) ? Effect.void : Fiber.await(fiber)))

    const cancel = Effect.suspend(() => {
      if (terminal.has(state)) return Effect.void
      cancellation.request()
      if (state === "RUNNING") return Effect.void
      // It has not reached Postgres, so there is nothing to wait for.
      state = "CANCELED"
      return Effect.asVoid(Fiber.interrupt(fiber))
    })

    const payload = (chunk: Results.Chunk) =>
      order.format === "ARROW_STREAM"
        ? { attachment: Buffer.from(chunk.read()).toString("base64") }
        : { data_array: JSON.parse(Buffer.from(chunk.read()).toString()) as unknown }
    const resultOf = (chunk: Results.Chunk) => {
      const { chunk_index, row_offset, row_count, byte_count } = chunk
      const place = {
        chunk_index,
        row_offset,
        row_count,
        ...(result?.chunks[chunk_index + 1] !== undefined && {
          next_chunk_index: chunk_index + 1,
          next_chunk_internal_link: `/api/2.0/sql/statements/${id}/result/chunks/${chunk_index + 1}?row_offset=${row_offset + row_count}`
        })
      }
      return order.disposition === "INLINE"
        ? { ...place, ...payload(chunk) }
        : { external_links: [{ ...place, byte_count, ...options.links.to(id, chunk_index) }] }
    }
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
            manifest: Results.manifestOf(result, order),
            result: first === undefined ? {} : resultOf(first)
          })
      }
    }
    return {
      id,
      owner: order.owner,
      format: order.format,
      state: shown,
      error: () => error,
      rowCount: () => result?.rowCount ?? 0,
      isTruncated: () => result?.truncated ?? false,
      untilEnded,
      ended: (within) =>
        pretended > 0
          ? Effect.succeed(false)
          : Effect.map(Effect.timeoutOption(untilEnded, within), (done) => done._tag === "Some"),
      cancel,
      close: Effect.map(cancel, () => {
        state = "CLOSED"
        discard()
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
      },
      download: (index) => (order.disposition === "INLINE" ? undefined : result?.chunks[index]?.read()),
      discard
    }
  })
