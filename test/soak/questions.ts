/** The users' questions to Genie, prompts to the model, and runs of the job. */
import { Effect, Option, Random, Schema } from "effect"
import { GenieMessage } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Orders, Started, Text } from "./Api.ts"
import { Soak } from "./journal.ts"
import { ask, asLongAs, type Do, post, read, showsOwn } from "./requests.ts"
import { follow } from "./streams.ts"
import * as Tokens from "./tokens.ts"
import { type Answering, type Chatting, textOf } from "./upstream.ts"

/** One of these manners, the first more often than the others. */
const oneOf = <A>(first: A, ...others: ReadonlyArray<A>) =>
  Effect.map(Random.nextBetween(-others.length, others.length), (n) => others[Math.floor(n)] ?? first)

/** How long a client stays with an answer that has no end. */
const patience = Effect.map(Random.next, (chance) => 800 + chance * 2_000)

/** Asks Genie and reads the rows of its answer. */
export const question: Do = (visit) =>
  Effect.gen(function* () {
    const { journal, ledger, questions } = yield* Soak
    const { kind, user } = visit
    const manner = yield* oneOf<Answering>("soon", "later", "failed", "cancelled", "expired")
    const entry = questions.open(user.name)
    const due = ledger.acknowledgedOf(user.name)
    const seen = yield* read(visit, post("/questions", { key: entry.key, manner }), Orders)
    if (seen === undefined) return
    entry.fate = "acknowledged"
    const isAnswered = manner === "soon" || manner === "later"
    journal.holds("questions", isAnswered, () => `${kind} of ${user.name} was answered, and it has ${manner}`)
    showsOwn(journal, visit, seen, due)
  })

/** Follows a question's events, also of one without an end. */
export const watchedQuestion: Do = (visit) =>
  Effect.gen(function* () {
    const { journal, questions } = yield* Soak
    const { kind, user } = visit
    const manner = yield* oneOf<Answering>("soon", "later", "failed", "endless", "endless")
    const entry = questions.open(user.name)
    let last: GenieMessage.Event | undefined
    let conversation: string | undefined
    const leaves = manner === "endless" ? yield* patience : visit.leaves
    const { outcome } = yield* follow(
      { ...visit, leaves },
      {
        request: post("/questions/watch", { key: entry.key, manner }),
        schema: GenieMessage.Event,
        each: (event, raw) => {
          last = event
          if (event._tag === "Started") {
            conversation = event.conversationId
            entry.fate = "acknowledged"
          }
          if ("message" in event)
            journal.holds(
              "own",
              event.message.content.startsWith(`${entry.key} `),
              () => `${kind} of ${user.name}: ${raw}`
            )
        },
        isWhole: () => last !== undefined && last._tag !== "Started" && last._tag !== "Progress"
      }
    )
    if (outcome !== "left" || conversation === undefined) return
    yield* leftPolls(conversation, `${kind} of ${user.name}`)
  })

/** Polls may be on their way when a client leaves. */
const grace = 2_000
/** Longer than the pause before the next poll. */
const pause = 6_000

const leftPolls = Effect.fnUntraced(function* (conversation: string, what: string) {
  const { journal } = yield* Soak
  const { requests } = yield* LocalWorkspace.LocalWorkspace
  const polls = Effect.map(requests, (all) => all.filter(({ path }) => path.includes(conversation)).length)
  yield* asLongAs(grace)
  const before = yield* polls
  yield* asLongAs(pause)
  const after = yield* polls
  journal.holds("left", after <= before, () => `${what}: ${after - before} polls after the client had left`)
})

/** Follows the model's answer, which may break in several ways or have no end. */
export const chat: Do = (visit) =>
  chatIn(visit, ["whole", "slow", "refused", "cut", "stalled", "ended", "failed", "endless", "endless"])

export const slowChat: Do = (visit) => chatIn(visit, ["slow"])

const chatIn = Effect.fnUntraced(function* (
  visit: Parameters<Do>[0],
  [first, ...others]: readonly [Chatting, ...Array<Chatting>]
) {
  const { chats, journal } = yield* Soak
  const { kind, user } = visit
  const manner = yield* oneOf<Chatting>(first, ...others)
  const entry = chats.open(user.name)
  const due = textOf(user.name, entry.key, manner)
  let text = ""
  const leaves = manner === "endless" ? yield* patience : visit.leaves
  const { events, outcome } = yield* follow(
    { ...visit, leaves },
    {
      request: post("/chats", { key: entry.key, manner }),
      schema: Text,
      each: (chunk, raw) => {
        text += chunk.text
        // The user's own text in another order has been sent again.
        const promise = due.includes(chunk.text) ? "chats" : "own"
        journal.holds(promise, due.startsWith(text), () => `${kind} of ${user.name}: ${raw}`)
      },
      isWhole: () => text === due,
      promise: "chats"
    }
  )
  if (outcome === "succeeded") entry.fate = "acknowledged"
  if (manner === "endless" && outcome === "left" && events > 0)
    yield* leftStream(`${entry.key} ${manner}`, `${kind} of ${user.name}`)
})

const leftStream = Effect.fnUntraced(function* (prompt: string, what: string) {
  const { journal } = yield* Soak
  const { requests } = yield* LocalWorkspace.LocalWorkspace
  yield* asLongAs(grace)
  const request = (yield* requests).findLast(({ body }) => body?.includes(`"${prompt}"`))
  journal.holds("left", request?.aborted !== false, () => `${what}: the model went on after the client had left`)
})

/** Starts a run; repeats the request until it has an answer, or although it has one. */
export const run: Do = (visit, chance) =>
  Effect.gen(function* () {
    const { journal, runs } = yield* Soak
    const { kind, user } = visit
    const entry = runs.open(user.name)
    const ids = new Set<string>()
    const once = Effect.gen(function* () {
      const token = yield* Tokens.one(user)
      const { answer, outcome } = yield* ask({ ...visit, token }, post("/runs", { key: entry.key }))
      if (outcome !== "succeeded" || answer._tag !== "Answered") return false
      const started = Schema.decodeUnknownOption(Schema.fromJsonString(Started))(answer.text)
      journal.holds("answered", Option.isSome(started), () => `${kind}: ${answer.text}`)
      if (Option.isNone(started)) return false
      entry.fate = "acknowledged"
      ids.add(started.value.runId)
      journal.holds("own", started.value.caller === user.name, () => `${kind} of ${user.name}: ${answer.text}`)
      return true
    })
    if (chance < 0.3) yield* Effect.all([once, once], { concurrency: 2 })
    for (let attempt = 0; attempt < 3; attempt++) if (yield* once) break
    journal.holds("runs", ids.size <= 1, () => `${kind} of ${user.name} started ${[...ids].join()}`)
  })
