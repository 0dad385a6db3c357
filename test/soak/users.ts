/** What users do: each of them reads, writes and streams, one thing after the other and some at once. */
import { Effect, Random, Schema } from "effect"
import type { HttpClient } from "effect/http"
import type { LocalWorkspace } from "effect-databricks/testing"
import { Orders, rowsOfExport, Seen, ticksOfWatch } from "./Api.ts"
import { Soak } from "./journal.ts"
import * as Requests from "./requests.ts"
import * as Tokens from "./tokens.ts"

const { ask, follow, get, post, read } = Requests

type Doing = Effect.Effect<void, never, Soak | HttpClient.HttpClient | LocalWorkspace.LocalWorkspace>

type Do = (visit: Requests.Visit, chance: number) => Doing

const name =
  (path: string): Do =>
  (visit) =>
    Effect.gen(function* () {
      const { journal } = yield* Soak
      const seen = yield* read(visit, get(path), Seen)
      if (seen !== undefined)
        journal.holds(
          "own",
          seen.caller === visit.user.name,
          () => `${visit.kind} of ${visit.user.name}: ${seen.caller}`
        )
    })

const orders =
  (path: string): Do =>
  (visit) =>
    Effect.gen(function* () {
      const { journal, ledger } = yield* Soak
      const { kind, user } = visit
      const due = ledger.acknowledgedOf(user.name)
      const seen = yield* read(visit, get(path), Orders)
      if (seen === undefined) return
      const others = [seen.caller, ...seen.last.map(({ owner }) => owner)].filter((owner) => owner !== user.name)
      journal.holds("own", others.length === 0, () => `${kind} of ${user.name} shows ${others.join()}`)
      journal.holds("fresh", seen.total >= due, () => `${kind} of ${user.name}: ${seen.total} of ${due}`)
    })

/** What the application shows of everybody, as itself. */
const total: Do = (visit) =>
  Effect.gen(function* () {
    const { journal, ledger } = yield* Soak
    const due = ledger.acknowledgedOf()
    // It does not look at who asks, and so proves no token.
    const seen = yield* read({ ...visit, token: { ...visit.token } }, get("/total"), Orders)
    if (seen === undefined) return
    journal.holds("own", !seen.caller.includes("@"), () => `The application's total was asked as ${seen.caller}`)
    journal.holds("fresh", seen.total >= due, () => `${visit.kind}: ${seen.total} of ${due}`)
  })

/** These have written nothing: the caller was refused, or got no connection. */
const before = new Set([
  "AuthenticationError",
  "IdentityMismatchError",
  "IdentityUnavailableError",
  "PoolExhaustedError"
])

const write =
  (path: string, parts = 1, slowest = 0): Do =>
  (visit, chance) =>
    Effect.gen(function* () {
      const { journal, ledger } = yield* Soak
      const { kind, user } = visit
      const entry = ledger.open(user.name, parts)
      const { answer, outcome } = yield* ask(visit, post(path, { key: entry.key, pause: chance * slowest }))
      if (answer._tag !== "Answered") return
      if (outcome !== "succeeded") {
        if (before.has(Requests.tagOf(answer.text))) ledger.settle(entry, "refused")
        return
      }
      ledger.settle(entry, "acknowledged")
      const written = Schema.decodeUnknownOption(Schema.fromJsonString(Seen))(answer.text)
      const caller = written._tag === "Some" ? written.value.caller : answer.text
      journal.holds("own", caller === user.name, () => `${kind} of ${user.name}: ${caller}`)
    })

const stream =
  (path: string, due: number): Do =>
  (visit, chance) =>
    follow(visit, path, due, chance < 0.3 ? 30 : 0)

/** Somebody who holds a token and names somebody else. */
const impostor: Do = (visit) =>
  Effect.gen(function* () {
    const { journal } = yield* Soak
    const headers = { ...visit.token.headers, "x-forwarded-email": `not-${visit.user.name}` }
    const { answer, outcome } = yield* ask({ ...visit, token: { ...visit.token, headers } }, get("/orders"))
    journal.holds("identity", outcome !== "succeeded", () => `${visit.user.name} was let in as somebody else`)
    if (answer._tag === "Answered" && answer.status === 403) visit.token.proven = true
  })

const expired: Do = (visit) =>
  Effect.gen(function* () {
    const { journal } = yield* Soak
    const token = visit.user.expired
    if (token === undefined) return
    const { outcome } = yield* ask({ ...visit, token }, get("/orders"))
    journal.holds("identity", outcome !== "succeeded", () => `An expired token of ${visit.user.name} was accepted`)
  })

const things: ReadonlyArray<readonly [kind: string, share: number, run: Do]> = [
  ["read from Lakebase", 22, orders("/orders")],
  ["read from Lakebase as the app", 6, total],
  ["read from the warehouse", 8, orders("/query")],
  ["read from the workspace", 8, name("/me")],
  ["read from the cache", 8, name("/cached")],
  ["write to Lakebase", 20, write("/orders")],
  ["write to Lakebase, slowly", 4, write("/orders", 1, 1.5)],
  ["write to Lakebase, in a transaction", 8, write("/orders/both", 2)],
  ["write to the warehouse", 5, write("/orders/warehouse")],
  ["stream of one statement", 2, stream("/orders/export", rowsOfExport)],
  ["stream of a statement each time", 4, stream("/orders/watch", ticksOfWatch)],
  ["read with an expired token", 3, expired],
  ["read under another's headers", 2, impostor]
]

const shares = things.reduce((sum, [, share]) => sum + share, 0)

const chosen = (chance: number) => {
  let left = chance * shares
  return things.find(([, share]) => (left -= share) < 0) ?? things[0]!
}

/** One thing, as the seed has it; some leave before it is done. */
const oneThing = Effect.fnUntraced(function* (user: Tokens.User, mayLeave: boolean) {
  const [what, leaving, after, chance] = yield* Effect.all([Random.next, Random.next, Random.next, Random.next])
  const [kind, , run] = chosen(what)
  const leaves = mayLeave && leaving < 0.06 ? 5 + after * (kind.startsWith("stream") ? 1_500 : 150) : undefined
  yield* run({ kind, user, token: yield* Tokens.one(user), leaves }, chance)
})

/** The first of what can be done, once. */
export const begin = (user: Tokens.User, many: number) =>
  Effect.forEach(
    things.slice(0, many),
    ([kind, , run]) => Effect.flatMap(Tokens.one(user), (token) => run({ kind, user, token, leaves: undefined }, 0)),
    { discard: true }
  )

/** Follows a stream that nobody but the application ends. */
export const wait = (user: Tokens.User) =>
  Effect.flatMap(Tokens.one(user), (token) =>
    follow({ kind: "stream without an end", user, token, leaves: undefined }, "/clock", Infinity, 0)
  )

/** Goes on until it is over, and finishes what it has begun. */
export const live = (user: Tokens.User, seed: string, isOver: () => boolean) =>
  Effect.gen(function* () {
    for (let step = 0; !isOver(); step++) {
      // Whatever else happens: this step of this user is the same for the same seed.
      yield* Effect.gen(function* () {
        const [pause, both] = yield* Effect.all([Random.nextBetween(1_000, 6_000), Random.next])
        yield* Effect.sleep(pause)
        if (isOver()) return
        yield* oneThing(user, true)
        if (both < 0.15) yield* Effect.all([oneThing(user, true), oneThing(user, true)], { concurrency: 2 })
      }).pipe(Random.withSeed(`${seed}/${user.name}/${step}`))
    }
  })
