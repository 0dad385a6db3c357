/** `npm run soak -- --minutes N`: 200 users on a bad day. Exits with 1 and says which promise was broken, if one was. */
import { NodeHttpClient } from "@effect/platform-node"
import { App } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Console, Data, Duration, Effect, Random, Schedule } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { writeFile } from "node:fs/promises"
import { parseArgs } from "node:util"
import { freePort, run } from "../fixtures/child.ts"
import * as Faults from "./faults.ts"
import { Held } from "./held.ts"
import { Journal, Soak } from "./journal.ts"
import { Ledger } from "./ledger.ts"
import * as Report from "./report.ts"
import type { User } from "./tokens.ts"
import * as Users from "./users.ts"
import * as Watcher from "./watcher.ts"

const { values: options } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    users: { type: "string", default: "200" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    report: { type: "string", default: "RELIABILITY.md" }
  }
})
const minutes = Number(options.minutes)
const { report, seed } = options

const names = Array.from({ length: Number(options.users) }, (_, i) => `u${i + 1}@example.com`)
/** The budget that Lakebase has by default. */
const budget = 50
/** What the heap may have grown by: what was learnt of 10,000 tokens, and compiled code. */
const growth = 16 * 2 ** 20
/** How long the application may take to exit, in milliseconds. */
const stopTimeout = 10_000

class PromiseBroken extends Data.TaggedError("PromiseBroken")<{ readonly message: string }> {}

/** What the application holds: `until` it is so, or as it is after a minute. */
const held = Effect.fnUntraced(function* (until: (held: Held) => boolean) {
  const { origin } = yield* Soak
  return yield* HttpClient.get(`${origin}/held`).pipe(
    Effect.flatMap(HttpClientResponse.schemaBodyJson(Held)),
    Effect.repeat({ until, schedule: Schedule.upTo(Schedule.spaced("500 millis"), { duration: "1 minute" }) })
  )
})

/** All connections have gone but the one on which this was asked. */
const isQuiet = ({ connections, resources }: Held) => connections === 0 && resources["TCPSocketWrap"] === 1

/** What there is more of than there was. */
const grown = (before: Held, after: Held) => [
  ...(["heapUsed", "external"] as const).filter((what) => after[what] > before[what] + growth),
  ...(["connections", "descriptors"] as const).filter((what) => after[what] > before[what]),
  ...Object.keys(after.resources).filter((kind) => after.resources[kind]! > (before.resources[kind] ?? 0))
]

/** A client of its own each time, which leaves no connection behind. */
const withClient = Effect.provide(NodeHttpClient.layerUndici, { local: true })

const soak = Effect.gen(function* () {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  const watcher = yield* Watcher.make(Duration.minutes(minutes + 30))
  const port = yield* freePort
  const app = yield* run("../soak/app.ts", [], {
    ...workspace.env,
    PGAPPNAME: Faults.applicationName,
    DATABRICKS_APP_PORT: String(port)
  })
  // A busy machine takes its time.
  yield* Effect.retry(app.port, { times: 3 })
  const journal = new Journal()
  const ledger = new Ledger()
  const users = names.map((name): User => ({ name, live: [], expired: undefined }))
  const everybody = (seed: string, isOver: () => boolean) =>
    withClient(
      Effect.forEach(users, (user) => Users.live(user, seed, isOver), { concurrency: "unbounded", discard: true })
    )

  return yield* Effect.gen(function* () {
    yield* Effect.forkScoped(Watcher.clock)
    yield* Console.log(`Seed ${seed}: ${users.length} users come`)
    // What everybody needs is loaded by the first ones, and each of the others has been there once.
    yield* withClient(
      Effect.forEach(users, (user, i) => Users.begin(user, i < 20 ? Infinity : 1), { concurrency: 20, discard: true })
    )
    const before = yield* withClient(held(isQuiet))
    journal.holds("returned", isQuiet(before), () => `It was never quiet before: ${JSON.stringify(before)}`)

    yield* Console.log(`${minutes} min of load and faults`)
    const watching = watcher.backends.pipe(
      Effect.tap((n) => Effect.sync(() => (journal.peakConnections = Math.max(journal.peakConnections, n)))),
      Effect.delay("100 millis"),
      Effect.forever
    )
    const faults = Random.withSeed(Faults.befall, seed)
    const end = performance.now() + minutes * 60_000
    yield* everybody(seed, () => performance.now() > end).pipe(Effect.raceFirst(faults), Effect.raceFirst(watching))
    journal.holds("bounded", journal.peakConnections <= budget, () => `${journal.peakConnections} connections`)
    const after = yield* withClient(held((_) => isQuiet(_) && grown(before, _).length === 0))
    journal.holds("returned", grown(before, after).length === 0, () => `More ${grown(before, after).join()}`)
    const backends = yield* watcher.backends
    journal.holds("returned", backends === 0, () => `${backends} connections of the application in Postgres`)

    yield* Console.log("SIGTERM under load")
    const isOver = () => journal.stoppedAt !== undefined && performance.now() > journal.stoppedAt + 500
    const told = Effect.gen(function* () {
      yield* Effect.sleep("4 seconds")
      journal.stoppedAt = performance.now()
      yield* app.kill("SIGTERM")
      const code = yield* app.exit
      const stopping = performance.now() - journal.stoppedAt
      journal.holds("stopped", code === 0, () => `Exit code ${code}: ${app.output.stderr}`)
      journal.holds("stopped", stopping <= stopTimeout, () => `It took ${Math.round(stopping)} ms to exit`)
      return stopping
    })
    const [stopping] = yield* Effect.all(
      [told, Effect.raceFirst(everybody(`${seed}/stop`, isOver), Random.withSeed(Faults.befall, `${seed}/stop`))],
      { concurrency: 2 }
    )

    const rows = yield* watcher.rows
    const { carriedOut, wrong } = ledger.audit(rows)
    for (const how of wrong) journal.breaks("once", how)
    const fates = ledger.counts()
    const seen = {
      minutes,
      seed,
      users: users.length,
      budget,
      postgres: yield* watcher.version,
      before,
      after,
      backends
    }
    const page = Report.render(journal, { ...seen, fates, carriedOut, rows: rows.length, stopping })
    yield* Effect.promise(() => writeFile(report, page))
    yield* Console.log(page)
    if (journal.broken.size > 0) {
      return yield* new PromiseBroken({ message: `The soak with seed ${seed} broke ${journal.broken.size} promises` })
    }
  }).pipe(Effect.provideService(Soak, { origin: `http://127.0.0.1:${port}`, journal, ledger }))
})

App.runMain(
  Effect.scoped(soak).pipe(
    Effect.provide(LocalWorkspace.layer({ users: names.map((userName) => ({ userName })), maxConnections: 200 }))
  )
)
