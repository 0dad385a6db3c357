/** Reads the database and the volumes outside the application. */
import { PgClient } from "@effect/sql-pg"
import { LocalWorkspace } from "effect-databricks/testing"
import { type Duration, Effect, Redacted, Schema, Stream } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { Reactivity } from "effect/reactivity"
import { createHash } from "node:crypto"
import { homeOf } from "./Api.ts"
import { applicationName } from "./faults.ts"
import { Soak } from "./journal.ts"
import type { Row } from "./ledger.ts"

/** Records in the journal the time for which the machine delays its processes. */
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

const Listed = Schema.Struct({ contents: Schema.Array(Schema.Struct({ name: Schema.String })) })

/** The hashes of all stored files, by owner and name. */
export const files = Effect.fnUntraced(function* (owners: ReadonlyArray<string>) {
  const { host, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
  const bearer = Redacted.value(yield* token(servicePrincipal.clientId))
  const get = (path: string) =>
    HttpClient.execute(HttpClientRequest.bearerToken(HttpClientRequest.get(`${host}/api/2.0/fs${path}`), bearer))
  const hashes = new Map<string, string>()
  for (const owner of owners) {
    const listed = yield* Effect.flatMap(get(`/directories${homeOf(owner)}`), HttpClientResponse.schemaBodyJson(Listed))
    for (const { name } of listed.contents) {
      const response = yield* get(`/files${homeOf(owner)}/${encodeURIComponent(name)}`)
      const hash = createHash("sha256")
      yield* Stream.runForEach(response.stream, (chunk) => Effect.sync(() => void hash.update(chunk)))
      hashes.set(`${owner}/${name}`, hash.digest("hex"))
    }
  }
  return hashes
})
