/** Looks at the database from outside, on a connection that is none of the application's. */
import { PgClient } from "@effect/sql-pg"
import { LocalWorkspace } from "effect-databricks/testing"
import { type Duration, Effect } from "effect"
import { Reactivity } from "effect/reactivity"
import { applicationName } from "./faults.ts"
import { Soak } from "./journal.ts"
import type { Row } from "./ledger.ts"

/** Notes in the journal what the machine takes from those who run on it. */
export const clock = Effect.gen(function* () {
  const { journal } = yield* Soak
  for (let due = performance.now() + tick; ; due = performance.now() + tick) {
    yield* Effect.sleep(tick)
    const late = performance.now() - due
    if (late > tick) journal.heldUp += late
  }
})

const tick = 50

/** Its token has to last for the whole run. */
export const make = (lasts: Duration.Duration) =>
  Effect.gen(function* () {
    const { administer, postgres, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
    yield* administer(`GRANT pg_monitor TO "${servicePrincipal.clientId}"`)
    const sql = yield* PgClient.make({
      ...postgres,
      username: servicePrincipal.clientId,
      password: yield* token(servicePrincipal.clientId, { ttl: lasts }),
      maxConnections: 1,
      applicationName: "watcher"
    })
    return {
      /** The application's connections, as the server counts them; none while it is away. */
      backends: sql<{ n: number }>`
        SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = ${applicationName}`.pipe(
        Effect.map(([row]) => row!.n),
        Effect.timeout("1 second"),
        Effect.orElseSucceed(() => 0)
      ),
      version: Effect.map(
        sql<{ version: string }>`SELECT current_setting('server_version') AS version`,
        ([row]) => row!.version
      ),
      rows: sql<Row>`SELECT owner, key, part FROM desk.orders`
    }
  }).pipe(Effect.provide(Reactivity.layer))
