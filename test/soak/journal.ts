/** The outcome of every request, and every broken promise. */
import { Context } from "effect"
import type { FileLedger } from "./fileLedger.ts"
import type { Ledger } from "./ledger.ts"
import type { Once } from "./once.ts"

export const promises = {
  once: "Every acknowledged write is stored exactly once and whole; no other write is stored twice or in part",
  own: "No response had a row, a name, a file or an answer of another user",
  fresh: "A read returns every write that was acknowledged before it",
  identity: "Live tokens were accepted; expired tokens and tokens under another user's headers were refused",
  time: "No request outlived its timeout",
  answered: "Every request got a response, with a status that matches its outcome",
  streams: "Every stream was complete or ended with an error event, and none was silent between heartbeats",
  files: "Every acknowledged upload is stored whole; any other left the old file whole, or none",
  downloads: "Every download was the whole file, or visibly cut short",
  questions: "Every acknowledged question reached Genie exactly once, and no other twice",
  chats: "Every answer of a model was whole or ended with an error event, and no prompt was sent again after it ran",
  runs: "Every acknowledged run of a job exists exactly once, and a repeated request started no other",
  left: "Genie was not polled, and no model wrote, for a client that had left",
  bounded: "The connections to Postgres never exceeded their budget",
  returned: "Memory, handles and connections returned to their level at the start",
  stopped: "SIGTERM under load: requests in flight finished, and the process exited with 0 within 10 s"
} as const

export type Promised = keyof typeof promises

export type Outcome = "succeeded" | "refused" | "unavailable" | "left" | "unanswered" | "wrong"

interface Tally {
  readonly outcomes: Map<Outcome, number>
  /** The durations of the successful requests, in milliseconds. */
  readonly times: Array<number>
}

export class Journal {
  readonly broken = new Map<Promised, Array<string>>()
  /** How often each promise was checked. */
  readonly checked = new Map<Promised, number>()
  readonly kinds = new Map<string, Tally>()
  readonly statuses = new Map<string, number>()
  readonly faults = new Map<string, number>()
  /** The current faults. */
  readonly current = new Set<string>()
  /** The requests under way, by kind. */
  readonly underWay = new Map<string, number>()
  /** Those when the application was told to stop. */
  underWayAtStop: ReadonlyMap<string, number> = new Map()
  private readonly startedAt = performance.now()
  /** When the application was told to stop. */
  stoppedAt: number | undefined
  peakConnections = 0
  /** The milliseconds for which the machine delayed the users. */
  heldUp = 0

  breaks(promise: Promised, how: string): void {
    const when = `${((performance.now() - this.startedAt) / 1000).toFixed(1)} s, ${[...this.current].join(" and ") || "no fault"}`
    this.broken.set(promise, [...(this.broken.get(promise) ?? []), `${how} (${when})`])
  }

  /** Records a broken promise unless the condition holds. */
  holds(promise: Promised, isSo: boolean, how: () => string): void {
    this.checks(promise)
    if (!isSo) this.breaks(promise, how())
  }

  checks(promise: Promised, times = 1): void {
    add(this.checked, promise, times)
  }

  began(kind: string): void {
    add(this.underWay, kind)
  }

  ended(kind: string, outcome: Outcome, milliseconds: number): void {
    add(this.underWay, kind, -1)
    let tally = this.kinds.get(kind)
    if (tally === undefined) this.kinds.set(kind, (tally = { outcomes: new Map(), times: [] }))
    add(tally.outcomes, outcome)
    if (outcome === "succeeded") tally.times.push(milliseconds)
  }

  said(status: string): void {
    add(this.statuses, status)
  }

  befell(fault: string): void {
    add(this.faults, fault)
  }
}

const add = <K>(counts: Map<K, number>, key: K, n = 1) => counts.set(key, (counts.get(key) ?? 0) + n)

/** The origin of the application, the journal and the ledgers. */
export class Soak extends Context.Service<
  Soak,
  {
    readonly origin: string
    readonly journal: Journal
    readonly ledger: Ledger
    readonly files: FileLedger
    readonly questions: Once
    readonly chats: Once
    readonly runs: Once
  }
>()("soak/Soak") {}
