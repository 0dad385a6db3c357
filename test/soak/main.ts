/** `npm run soak -- --minutes N`: 200 users under faults. Exits with 1 if a promise is broken, and names it. */
import { NodeHttpClient } from "@effect/platform-node"
import { App } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Console, Data, Duration, Effect, Fiber, Schedule } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { writeFile } from "node:fs/promises"
import { parseArgs } from "node:util"
import { freePort, run } from "../fixtures/child.ts"
import * as Faults from "./faults.ts"
import { FileLedger } from "./fileLedger.ts"
import { Held } from "./held.ts"
import { Journal, Soak } from "./journal.ts"
import { Ledger } from "./ledger.ts"
import { Once } from "./once.ts"
import * as Report from "./report.ts"
import type { User } from "./tokens.ts"
import * as Upstream from "./upstream.ts"
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
/** The allowed growth of the heap: the cache of 10,000 tokens, and compiled code. */
const growth = 16 * 2 ** 20
/** How long the application may take to exit, in milliseconds. */
const stopTimeout = 10_000

const ledgers = {
  ledger: new Ledger(),
  files: new FileLedger(),
  questions: new Once("q"),
  chats: new Once("c"),
  runs: new Once("r")
}

class PromiseBroken extends Data.TaggedError("PromiseBroken")<{ readonly message: string }> {}

/** Returns the resources of the application once `until` holds, or after 1 minute. */
const held = Effect.fnUntraced(function* (until: (held: Held) => boolean) {
  const { origin } = yield* Soak
  return yield* HttpClient.get(`${origin}/held`).pipe(
    Effect.flatMap(HttpClientResponse.schemaBodyJson(Held)),
    Effect.repeat({ until, schedule: Schedule.upTo(Schedule.spaced("500 millis"), { duration: "1 minute" }) })
  )
})

/** All connections have gone but the one on which this was asked. */
const isQuiet = ({ connections, resources }: Held) => connections === 0 && resources["TCPSocketWrap"] === 1

/** Returns the resources that grew. */
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
  const users = names.map((name): User => ({ name, live: [], expired: undefined }))
  const everybody = (seed: string, isOver: () => boolean) =>
    withClient(
      Effect.forEach(users, (user) => Users.live(user, seed, isOver), { concurrency: "unbounded", discard: true })
    )

  return yield* Effect.gen(function* () {
    yield* Effect.forkScoped(Watcher.clock)
    yield* Console.log(`Seed ${seed}: ${users.length} users come`)
    // The first requests load the code, and every user has sent one.
    yield* withClient(
      Effect.forEach(users, (user, i) => Users.begin(user, i < 20 ? Infinity : 1), { concurrency: 20, discard: true })
    )
    const before = yield* withClient(held(isQuiet))
    journal.holds("returned", isQuiet(before), () => `It was never quiet before: ${JSON.stringify(before)}`)

    yield* Console.log(`${minutes} min of load and faults`)
    const watching = watcher.backends.pipe(
      Effect.tap((n) =>
        Effect.sync(() => {
          journal.checks("bounded")
          journal.peakConnections = Math.max(journal.peakConnections, n)
        })
      ),
      Effect.delay("100 millis"),
      Effect.forever
    )
    const end = performance.now() + minutes * 60_000
    yield* everybody(seed, () => performance.now() > end).pipe(
      Effect.raceFirst(Faults.befall(seed)),
      Effect.raceFirst(watching)
    )
    journal.holds("bounded", journal.peakConnections <= budget, () => `${journal.peakConnections} connections`)
    const after = yield* withClient(held((_) => isQuiet(_) && grown(before, _).length === 0))
    journal.holds("returned", grown(before, after).length === 0, () => `More ${grown(before, after).join()}`)
    const backends = yield* watcher.backends
    journal.holds("returned", backends === 0, () => `${backends} connections of the application in Postgres`)

    yield* Console.log("SIGTERM under load")
    const isOver = () => journal.stoppedAt !== undefined && performance.now() > journal.stoppedAt + 500
    const told = Effect.gen(function* () {
      yield* Effect.sleep("3 seconds")
      // Uploads and streams that are under way at the signal.
      const busy = yield* Effect.forkScoped(
        withClient(Effect.forEach(users.slice(0, 10), Users.takeTime, { concurrency: 10 }))
      )
      yield* Effect.sleep("1 second")
      journal.stoppedAt = performance.now()
      journal.underWayAtStop = new Map(journal.underWay)
      for (const n of journal.underWay.values()) journal.checks("stopped", n)
      yield* app.kill("SIGTERM")
      const code = yield* app.exit
      const stopping = performance.now() - journal.stoppedAt
      journal.holds("stopped", code === 0, () => `Exit code ${code}: ${app.output.stderr}`)
      journal.holds("stopped", stopping <= stopTimeout, () => `It took ${Math.round(stopping)} ms to exit`)
      yield* Fiber.join(busy)
      return stopping
    })
    const [stopping] = yield* Effect.all(
      [told, Effect.raceFirst(everybody(`${seed}/stop`, isOver), Faults.befall(`${seed}/stop`))],
      { concurrency: 2 }
    )

    const rows = yield* watcher.rows
    const stored = yield* withClient(Watcher.files(names))
    const accounts = Report.accounts(ledgers, rows, stored)
    for (const { checks, promise, wrong } of accounts) {
      journal.checks(promise, checks)
      for (const how of wrong) journal.breaks(promise, how)
    }
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
    const page = Report.render(journal, { ...seen, accounts, rows: rows.length, files: stored.size, stopping })
    yield* Effect.promise(() => writeFile(report, page))
    yield* Console.log(page)
    if (journal.broken.size > 0) {
      return yield* new PromiseBroken({ message: `The soak with seed ${seed} broke ${journal.broken.size} promises` })
    }
  }).pipe(Effect.provideService(Soak, { origin: `http://127.0.0.1:${port}`, journal, ...ledgers }))
})

App.runMain(Effect.scoped(soak).pipe(Effect.provide(LocalWorkspace.layer(Upstream.optionsOf(names, ledgers)))))
