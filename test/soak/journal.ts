/** What came of every request, and every promise that was broken. */
import { Context } from "effect"
import type { Ledger } from "./ledger.ts"

export const promises = {
  once: "Every acknowledged write is there exactly once, whole; no other write is there twice or in part",
  own: "Nobody saw a row, a name or an answer of somebody else",
  fresh: "Whoever reads sees what they were told was written",
  identity: "Live tokens were accepted, expired ones and those under another's headers refused",
  time: "No request outlived its timeout",
  answered: "Every request was answered, and with a status that says what happened",
  streams: "Every stream was whole or said why not, and none fell silent",
  bounded: "The connections to Postgres never exceeded their budget",
  returned: "Memory, handles and connections came back to where they began",
  stopped: "SIGTERM under load: what was under way was answered, and the exit code was 0 within 10 s"
} as const

export type Promised = keyof typeof promises

export type Outcome = "succeeded" | "refused" | "unavailable" | "left" | "unanswered" | "wrong"

interface Tally {
  readonly outcomes: Map<Outcome, number>
  /** Of those that succeeded, in milliseconds. */
  readonly times: Array<number>
}

export class Journal {
  readonly broken = new Map<Promised, Array<string>>()
  readonly kinds = new Map<string, Tally>()
  readonly statuses = new Map<string, number>()
  readonly faults = new Map<string, number>()
  /** What befalls the application now, and since when it all goes on. */
  fault: string | undefined
  private readonly startedAt = performance.now()
  /** When the application was told to stop. */
  stoppedAt: number | undefined
  peakConnections = 0
  /** For so many milliseconds the machine has kept the users from running when their time had come. */
  heldUp = 0

  breaks(promise: Promised, how: string): void {
    const when = `${((performance.now() - this.startedAt) / 1000).toFixed(1)} s, ${this.fault ?? "no fault"}`
    this.broken.set(promise, [...(this.broken.get(promise) ?? []), `${how} (${when})`])
  }

  /** Says that a promise is broken unless this is so. */
  holds(promise: Promised, isSo: boolean, how: () => string): void {
    if (!isSo) this.breaks(promise, how())
  }

  ended(kind: string, outcome: Outcome, milliseconds: number): void {
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

const add = <K>(counts: Map<K, number>, key: K) => counts.set(key, (counts.get(key) ?? 0) + 1)

/** Where the application is, and what is written down about it. */
export class Soak extends Context.Service<
  Soak,
  { readonly origin: string; readonly journal: Journal; readonly ledger: Ledger }
>()("soak/Soak") {}
