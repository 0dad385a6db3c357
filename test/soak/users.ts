/** The users: each reads, writes and streams, mostly in sequence and sometimes at once. */
import { Effect, Random, Schema } from "effect"
import { Orders, rowsOfExport, Seen, ticksOfWatch } from "./Api.ts"
import { Soak } from "./journal.ts"
import * as Questions from "./questions.ts"
import * as Requests from "./requests.ts"
import { follow } from "./streams.ts"
import * as Tokens from "./tokens.ts"
import * as Uploads from "./uploads.ts"

const { ask, get, post, read, showsOwn } = Requests

type Do = Requests.Do

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
      const due = ledger.acknowledgedOf(visit.user.name)
      const seen = yield* read(visit, get(path), Orders)
      if (seen !== undefined) showsOwn(journal, visit, seen, due)
    })

/** Reads the rows of all users as the application. */
const total: Do = (visit) =>
  Effect.gen(function* () {
    const { journal, ledger } = yield* Soak
    const due = ledger.acknowledgedOf()
    // It runs without a user, and verifies no token.
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
    Effect.gen(function* () {
      const { journal } = yield* Soak
      const { kind, user } = visit
      yield* follow(visit, {
        request: get(path),
        schema: Seen,
        each: (row, raw) => journal.holds("own", row.caller === user.name, () => `${kind} of ${user.name}: ${raw}`),
        isWhole: (events) => events === due,
        pause: chance < 0.3 ? 30 : 0
      })
    })

/** Sends a user's token with another user's headers. */
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
  ["upload", 6, Uploads.upload],
  ["upload, slowly", 3, Uploads.slowUploadOrLeave],
  ["download", 5, Uploads.download],
  ["download of another's file", 2, Uploads.trespass],
  ["question to Genie", 5, Questions.question],
  ["stream of a question", 2, Questions.watchedQuestion],
  ["stream of a model", 6, Questions.chat],
  ["run of a job", 3, Questions.run],
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
  const longest = /^(stream|upload|question)/.test(kind) ? 1_500 : 150
  const leaves = mayLeave && leaving < 0.06 ? 5 + after * longest : undefined
  yield* run({ kind, user, token: yield* Tokens.one(user), leaves }, chance)
})

/** The first of the possible actions, once. */
export const begin = (user: Tokens.User, many: number) =>
  Effect.forEach(
    things.slice(0, many),
    ([kind, , run]) => Effect.flatMap(Tokens.one(user), (token) => run({ kind, user, token, leaves: undefined }, 0)),
    { discard: true }
  )

/** An upload and a model's stream at once, which both take a while. */
export const takeTime = Effect.fnUntraced(function* (user: Tokens.User) {
  const visit = { user, token: yield* Tokens.one(user), leaves: undefined }
  yield* Effect.all(
    [
      Uploads.slowUpload({ ...visit, kind: "upload, slowly" }, 0.8),
      Questions.slowChat({ ...visit, kind: "stream of a model" }, 0)
    ],
    { concurrency: 2, discard: true }
  )
})

/** Goes on until it is over, and finishes what it has begun. */
export const live = (user: Tokens.User, seed: string, isOver: () => boolean) =>
  Effect.gen(function* () {
    for (let step = 0; !isOver(); step++) {
      // The same seed gives the same step of the same user.
      yield* Effect.gen(function* () {
        const [pause, both] = yield* Effect.all([Random.nextBetween(1_000, 6_000), Random.next])
        yield* Effect.sleep(pause)
        if (isOver()) return
        yield* oneThing(user, true)
        if (both < 0.15) yield* Effect.all([oneThing(user, true), oneThing(user, true)], { concurrency: 2 })
      }).pipe(Random.withSeed(`${seed}/${user.name}/${step}`))
    }
  })
