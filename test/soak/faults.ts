/** What befalls the database and the workspace: planned by the seed, one after the other, each of them in every round. */
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Random } from "effect"
import { Soak } from "./journal.ts"

type Workspace = LocalWorkspace.LocalWorkspace["Service"]

export const applicationName = "soak"

const kill = ({ administer }: Workspace, which: string) =>
  administer(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '${applicationName}' ${which}`
  )

const misbehaves = (fault: LocalWorkspace.Fault) => (workspace: Workspace, lasts: number) =>
  Effect.scoped(Effect.andThen(workspace.misbehave(fault), Effect.sleep(lasts)))

const busy = { status: 429, headers: { "retry-after": "1" }, body: "{}" }
const away = { status: 503, body: "" }
const statements = "/api/2.0/sql/statements"
const tokens = "/api/2.0/postgres/credentials"
const identity = "/api/2.0/preview/scim/v2/Me"

/** Each with how long it lasts at the most, in milliseconds. */
const faults: Readonly<
  Record<string, readonly [longest: number, run: (workspace: Workspace, lasts: number) => Effect.Effect<void, unknown>]>
> = {
  "a few backends killed": [0, (_) => kill(_, "ORDER BY random() LIMIT 8")],
  "all backends killed": [0, (_) => kill(_, "")],
  "Postgres restarted": [
    1_500,
    ({ postgresServer: { start, stop } }, lasts) => Effect.ensuring(Effect.andThen(stop, Effect.sleep(lasts)), start)
  ],
  "Postgres frozen": [
    3_000,
    ({ postgresServer: { freeze, thaw } }, lasts) => Effect.ensuring(Effect.andThen(freeze, Effect.sleep(lasts)), thaw)
  ],
  "workspace: 429": [2_500, misbehaves({ kind: "answer", ...busy })],
  "workspace: 503": [2_500, misbehaves({ kind: "answer", ...away })],
  "workspace: slow": [3_000, misbehaves({ kind: "delay", duration: "800 millis" })],
  "workspace: half an answer": [1_000, misbehaves({ kind: "truncate" })],
  "workspace: connections cut": [1_500, misbehaves({ kind: "drop" })],
  "statements: 429": [2_500, misbehaves({ kind: "answer", path: statements, ...busy })],
  "statements: 503": [2_500, misbehaves({ kind: "answer", path: statements, ...away })],
  "statements: slow": [3_000, misbehaves({ kind: "delay", path: statements, duration: "3 seconds" })],
  "statements: carried out, and the connection cut": [
    2_500,
    misbehaves({ kind: "drop", when: "after", path: statements })
  ],
  "statements: pending": [2_500, misbehaves({ kind: "pending", polls: 3 })],
  "statements: no answer": [2_000, misbehaves({ kind: "hang", method: "POST", path: statements })],
  "database tokens: 503": [2_500, misbehaves({ kind: "answer", path: tokens, ...away })],
  "database tokens: no answer": [2_000, misbehaves({ kind: "hang", path: tokens })],
  "identity: 503": [2_500, misbehaves({ kind: "answer", path: identity, ...away })],
  "identity: no answer": [1_000, misbehaves({ kind: "hang", path: identity })]
}

/** Goes on until it is interrupted, and then leaves the database as it was. */
export const befall = Effect.gen(function* () {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const { journal } = yield* Soak
  while (true) {
    for (const kind of yield* Random.shuffle(Object.keys(faults))) {
      const [longest, run] = faults[kind]!
      yield* Effect.sleep(yield* Random.nextBetween(400, 1_600))
      const lasts = longest * (yield* Random.nextBetween(0.4, 1))
      journal.fault = kind
      // Where the database is not there to be asked, nothing has befallen it.
      yield* run(workspace, lasts).pipe(
        Effect.tap(() => Effect.sync(() => journal.befell(kind))),
        Effect.ignore
      )
      journal.fault = undefined
    }
  }
})
