/** The faults of the database, the workspace and its services, in orders of the seed. A round has every fault once. */
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
const files = "/api/2.0/fs/files/"
const genie = "/api/2.0/genie/spaces/"
const models = "/serving-endpoints/"
const jobs = "/api/2.2/jobs/run-now"
const inFiles = (path: string) => path.startsWith(files)

type Faults = Readonly<
  Record<string, readonly [longest: number, run: (workspace: Workspace, lasts: number) => Effect.Effect<void, unknown>]>
>

/** Each with how long it lasts at the most, in milliseconds. */
const platform: Faults = {
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
  // Half of a file is whole to all who do not know its size.
  "workspace: half an answer": [1_000, misbehaves({ kind: "truncate", path: (path) => !inFiles(path) })],
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

const uploads = { method: "PUT", path: files } as const
const downloads = { method: "GET", path: files } as const
const questions = { method: "POST", path: genie } as const

const services: Faults = {
  "files: 429": [2_500, misbehaves({ kind: "answer", path: files, ...busy })],
  "files: 503": [2_500, misbehaves({ kind: "answer", path: files, ...away })],
  "files: no answer": [2_000, misbehaves({ kind: "hang", path: files })],
  "downloads: cut in the body": [2_500, misbehaves({ kind: "cut", ...downloads })],
  "downloads: stalled in the body": [2_500, misbehaves({ kind: "stall", ...downloads })],
  "uploads: connections cut": [2_000, misbehaves({ kind: "drop", ...uploads })],
  "uploads: stored, and the connection cut": [2_500, misbehaves({ kind: "drop", when: "after", ...uploads })],
  "Genie: 429": [2_500, misbehaves({ kind: "answer", path: genie, ...busy })],
  "Genie: 503": [2_500, misbehaves({ kind: "answer", path: genie, ...away })],
  "Genie: asked, and the connection cut": [2_500, misbehaves({ kind: "drop", when: "after", ...questions })],
  "Genie: half a status": [2_500, misbehaves({ kind: "cut", method: "GET", path: genie })],
  "models: 429": [2_500, misbehaves({ kind: "answer", path: models, ...busy })],
  "models: 503": [2_500, misbehaves({ kind: "answer", path: models, ...away })],
  "models: asked, and the connection cut": [2_500, misbehaves({ kind: "drop", when: "after", path: models })],
  "models: no answer": [2_000, misbehaves({ kind: "hang", path: models })],
  "jobs: 503": [2_500, misbehaves({ kind: "answer", path: jobs, ...away })],
  "jobs: started, and the connection cut": [2_500, misbehaves({ kind: "drop", when: "after", path: jobs })],
  "jobs: started, and no answer": [2_000, misbehaves({ kind: "stall", path: jobs })]
}

const befallOne = (faults: Faults) =>
  Effect.gen(function* () {
    const workspace = yield* LocalWorkspace.LocalWorkspace
    const { journal } = yield* Soak
    while (true) {
      for (const kind of yield* Random.shuffle(Object.keys(faults))) {
        const [longest, run] = faults[kind]!
        yield* Effect.sleep(yield* Random.nextBetween(400, 1_600))
        const lasts = longest * (yield* Random.nextBetween(0.4, 1))
        journal.current.add(kind)
        // Where the database is not there to be asked, nothing has befallen it.
        yield* run(workspace, lasts).pipe(
          Effect.tap(() => Effect.sync(() => journal.befell(kind))),
          Effect.ignore
        )
        journal.current.delete(kind)
      }
    }
  })

/** Goes on until it is interrupted, and then leaves the database as it was. The services have faults of their own. */
export const befall = (seed: string) =>
  Effect.raceFirst(Random.withSeed(befallOne(platform), seed), Random.withSeed(befallOne(services), `${seed}/services`))
