/** The metrics of Lakebase. Their only label is `execution.context`: labels by user would be unbounded. */
import { Clock, type Context, Effect, Metric, type Scope } from "effect"
import type { Caller } from "../../Caller.ts"
import type { Stats } from "../../Lakebase.ts"

type Whose = Caller["context"]

const byContext = <M extends Metric.Metric<never, unknown>>(make: (attributes: Metric.Metric.Attributes) => M) => ({
  service: make({ "execution.context": "service" }),
  user: make({ "execution.context": "user" })
})

const durations = (name: string, description: string) =>
  byContext((attributes) =>
    Metric.histogram(name, {
      description,
      attributes: { ...attributes, unit: "ms" },
      // From 0.5 ms to 16 s.
      boundaries: Metric.exponentialBoundaries({ start: 0.5, factor: 2, count: 16 })
    })
  )

/** The duration of a statement, including the wait for its connection. */
export const queryDuration = durations(
  "lakebase.query.duration",
  "Duration of a statement, including its wait for a connection"
)

export const tokenRefreshDuration = durations("lakebase.token.refresh.duration", "Duration of requesting a token")

/** Records the duration of work, for any exit. The work can read the milliseconds until now. */
export const timed = <A, E, R>(
  work: (elapsed: () => number) => Effect.Effect<A, E, R>,
  duration: typeof queryDuration,
  whose: Whose
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const start = clock.currentTimeNanosUnsafe()
    const elapsed = () => Number(clock.currentTimeNanosUnsafe() - start) / 1e6
    return Effect.onExitPrimitive(work(elapsed), () => {
      duration[whose].updateUnsafe(elapsed(), fiber.context)
      return undefined
    })
  })

const gauges = (name: string, description: string) =>
  byContext((attributes) => Metric.gauge(name, { description, attributes }))
const counters = (name: string, description: string) =>
  byContext((attributes) => Metric.counter(name, { description, attributes, incremental: true }))

const connections = {
  total: gauges("lakebase.pool.connections.total", "Connections that are open, opening or closing"),
  idle: gauges("lakebase.pool.connections.idle", "Open connections that are not in use"),
  waiting: gauges("lakebase.pool.connections.waiting", "Calls waiting for a connection")
}
const events = {
  evictions: counters("lakebase.pool.evictions", "Idle connections that were closed to make room for another caller"),
  exhaustions: counters("lakebase.pool.exhaustions", "Calls that gave up waiting for a connection")
}

/** Adds a pool to the metrics until the scope closes. Its numbers are read on export. */
export const observe = (
  whose: Whose,
  stats: () => Stats & { readonly exhaustions: number }
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => [
          ...(["total", "idle", "waiting"] as const).map((of) =>
            Metric.registerUnsafe(connections[of][whose], context, {
              ...readOnly,
              get: () => ({ value: stats()[of] })
            })
          ),
          ...(["evictions", "exhaustions"] as const).map((of) =>
            Metric.registerUnsafe(events[of][whose], context, {
              ...readOnly,
              get: () => ({ count: stats()[of], incremental: true })
            })
          )
        ]),
        (registrations) => Effect.sync(() => registrations.forEach((_) => _.remove()))
      )
    )
  )

const readOnly = { update: () => {}, modify: () => {} }
