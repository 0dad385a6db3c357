/** The events of a result as JSON. */
import { Clock, Effect, Stream } from "effect"
import type * as ServerSentEvents from "../../../http/ServerSentEvents.ts"
import type { Table, WarehouseState } from "../../../SqlWarehouse.ts"
import * as Events from "../events.ts"
import * as Failure from "../failure.ts"

/** The bytes of the rows as JSON, below the 4 MiB of an event. A page reads less than 5 MiB at once. */
const maxSize = 4_000_000

export interface Result {
  readonly data: ReadonlyArray<Readonly<Record<string, string | null>>>
  readonly statement_id?: string
}

/**
 * Answers with the states of the warehouse until it runs, and then with the result. A page whose connection was cut
 * continues; where its stream is not kept, the query runs again, which only reads.
 */
export const respond = <E, E2, R, R2>(
  states: Stream.Stream<WarehouseState, E, R>,
  result: Effect.Effect<Result, E2, R2>
): ServerSentEvents.Resumed<R | R2> => {
  const events = Stream.concat(
    told(states),
    Stream.fromEffect(Effect.map(result, (result) => ({ type: "result", ...result })))
  )
  return Events.respond("analytics", events, {
    id: ({ type }) => type,
    // The hook aborts on an event that is not JSON.
    resume: { opening: false, after: () => events }
  })
}

const told = <E, R>(states: Stream.Stream<WarehouseState, E, R>) =>
  Stream.unwrap(
    Effect.map(Clock.currentTimeMillis, (start) =>
      Stream.mapEffect(states, (state) =>
        Effect.map(Clock.currentTimeMillis, (now) => ({
          type: "warehouse_status",
          status: { state, elapsedMs: now - start }
        }))
      )
    )
  )

/** Collects the rows by column name. Ends a result that is too large when it is, and one that is not whole. */
export const collect = <E, R>(parts: Stream.Stream<Table, E, R>) =>
  Effect.suspend(() => {
    const data: Array<Result["data"][number]> = []
    let id: Pick<Result, "statement_id"> = {}
    let size = 0
    return Effect.map(
      Stream.runForEach(parts, ({ columns, rows, statementId, truncated }) =>
        Effect.suspend(() => {
          id = { statement_id: statementId }
          const names = columns.map(({ name }) => name)
          const twice = names.find((name, index) => names.indexOf(name) !== index)
          if (twice !== undefined) return repeated(twice)
          if (truncated) return incomplete
          for (const row of rows) {
            const record = Object.fromEntries(row.map((value, index) => [names[index]!, value]))
            size += Buffer.byteLength(JSON.stringify(record)) + 1
            if (size > maxSize) return tooLarge
            data.push(record)
          }
          return Effect.void
        })
      ),
      (): Result => ({ data, ...id })
    )
  })

const repeated = (name: string) =>
  Effect.fail(
    Failure.refusal(
      500,
      `The result has two columns "${name}": one of them needs another name with AS in the query`,
      "REPEATED_COLUMN"
    )
  )

const tooLarge = Effect.fail(
  Failure.refusal(
    413,
    "The result is too large for JSON: ask for Arrow (format ARROW_STREAM), or for fewer rows",
    "RESULT_TOO_LARGE_FOR_JSON_FALLBACK"
  )
)

/** Refuses a result with missing rows: the hooks have no place to say that rows are missing. */
export const incomplete = Effect.fail(
  Failure.refusal(413, "The result has more rows than the limit: ask for fewer", "RESULT_TRUNCATED")
)
