import { NodeHttpClient, NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Config, Deferred, Effect, Fiber, Layer, Random, Schedule, Schema, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import { Watcher } from "./fixtures/lakebaseFaults.ts"

/** The number of users: 10,000 take two minutes. */
const Users = Config.withDefault(Config.Int("LAKEBASE_TEST_USERS"), 500)
/** The users that come first, to warm up the code and the caches that all users share. */
const early = 200
const atOnce = 200
const budget = 50

const nameOf = (i: number) => `u${i}@example.com`

const Workspace = Layer.unwrap(
  Effect.map(Users, (users) =>
    Watcher.layer.pipe(
      Layer.provideMerge(
        LocalWorkspace.layer({ users: Array.from({ length: early + users }, (_, i) => ({ userName: nameOf(i) })) })
      )
    )
  )
)

/** Runs test/fixtures/crowd.ts, and gives its address. */
const application = Effect.gen(function* () {
  const { env } = yield* LocalWorkspace.LocalWorkspace
  const child = yield* ChildProcess.make(
    process.execPath,
    [
      "--conditions=@effect-databricks/source",
      "--experimental-strip-types",
      "--disable-warning=ExperimentalWarning",
      "--expose-gc",
      fileURLToPath(new URL("fixtures/crowd.ts", import.meta.url))
    ],
    { env, stderr: "inherit", detached: false }
  )
  const origin = yield* Deferred.make<string>()
  const reading = yield* child.stdout.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.runForEach((line) => {
      const [, found] = /Listening on (\S+)/.exec(line) ?? []
      return found === undefined ? Effect.log(line) : Deferred.succeed(origin, found)
    }),
    Effect.andThen(Effect.die(new Error("The application has ended"))),
    Effect.forkScoped
  )
  return yield* Effect.raceFirst(Deferred.await(origin), Fiber.join(reading))
})

/** Sends a user's request after a random delay, and returns the answer. */
const visit = Effect.fnUntraced(function* (origin: string, userName: string) {
  const workspace = yield* LocalWorkspace.LocalWorkspace
  yield* Effect.sleep(yield* Random.nextIntBetween(0, 400))
  const headers = yield* workspace.headers(userName)
  const response = yield* HttpClient.get(`${origin}/who`, { headers })
  return yield* response.text
})

/** Sends a request of each user, and returns the wrong answers, each with the right one. */
const crowd = Effect.fnUntraced(
  function* (origin: string, from: number, to: number) {
    const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
    const users = yield* Random.shuffle(Array.from({ length: to - from }, (_, i) => nameOf(from + i)))
    const answers = yield* Effect.forEach(
      users,
      (user) =>
        Effect.map(visit(origin, user), (got) => [JSON.stringify({ user, service: servicePrincipal.clientId }), got]),
      { concurrency: atOnce }
    )
    return answers.filter(([due, got]) => due !== got)
  },
  Effect.provide(NodeHttpClient.layerUndici, { local: true })
)

const ask = <S extends Schema.Decoder<unknown>>(url: string, answer: S) =>
  HttpClient.get(url).pipe(
    Effect.flatMap(HttpClientResponse.schemaBodyJson(answer)),
    Effect.provide(NodeHttpClient.layerUndici, { local: true })
  )

const Open = Schema.Struct({ connections: Schema.Int, sockets: Schema.Int })

/** All connections have gone but the one on which this was asked. */
const isQuiet = ({ connections, sockets }: typeof Open.Type) => connections === 0 && sockets === 1

const Held = Schema.Record(Schema.String, Schema.Int)

/** What the application holds once all connections have closed. To measure it takes seconds, on a busy machine more. */
const held = Effect.fnUntraced(function* (origin: string) {
  const last = yield* Effect.repeat(ask(`${origin}/open`, Open), {
    until: isQuiet,
    schedule: Schedule.upTo(Schedule.spaced("200 millis"), { times: 300 })
  })
  assert.isTrue(isQuiet(last), JSON.stringify(last))
  return yield* ask(`${origin}/held`, Held)
})

/** The most of each kind that it holds at two moments: at one of them a timer may just have run out. */
const heldAtMost = Effect.fnUntraced(function* (origin: string) {
  const [first, second] = [yield* held(origin), yield* held(origin)]
  const most = (kind: string) => Math.max(first[kind] ?? 0, second[kind] ?? 0)
  return Object.fromEntries(Object.keys({ ...first, ...second }).map((kind) => [kind, most(kind)]))
})

/** The kinds of objects that have grown in number; the heap may grow by 7 KiB a user, and by 10 MiB at most. */
const grown = (before: typeof Held.Type, after: typeof Held.Type, users: number) =>
  Object.entries(after).filter(
    ([kind, count]) =>
      count > (before[kind] ?? 0) + (kind === "heapUsed" ? Math.min(7 * 2 ** 10 * users, 10 * 2 ** 20) : 0)
  )

it.live(
  "Lakebase serves a crowd of users with at most 50 connections and leaves nothing behind",
  () =>
    Effect.gen(function* () {
      const { backends, peak } = yield* Watcher
      const users = yield* Users
      const origin = yield* application
      assert.deepStrictEqual(yield* crowd(origin, 0, early), [])
      const before = yield* heldAtMost(origin)
      assert.deepStrictEqual(yield* crowd(origin, early, early + users), [])
      // A busy machine may take a while to release objects; a leak stays.
      const more = yield* Effect.repeat(
        Effect.map(held(origin), (after) => grown(before, after, users)),
        { until: (_) => _.length === 0, times: 2 }
      )
      assert.isAtMost(yield* peak, budget)
      assert.strictEqual(yield* backends, 0)
      assert.deepStrictEqual(more, [])
    }).pipe(Effect.scoped, Effect.provide([Workspace, NodeServices.layer])),
  // For 10,000.
  { timeout: 600_000 }
)
