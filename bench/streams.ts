/** The bed of a measurement of streams: servers whose workspace is the process that also reads what they stream. */
import { Effect, type Scope } from "effect"
import * as Bed from "./bed.ts"
import { bundleOf } from "./bundle.ts"
import { type Child, fork } from "./child.ts"
import { execArgv } from "./profile.ts"
import type { Sender } from "./load.ts"
import { ratiosOf } from "./results.ts"
import type { Question } from "./traffic.ts"

export const peers = ["ours", "AppKit", "by hand"] as const

export type Peer = (typeof peers)[number]

/** The servers of what streams. */
export const modules: Readonly<Record<Peer, string>> = {
  ours: bundleOf("streams"),
  AppKit: "servers/streams.mjs",
  "by hand": "servers/streamsFloor.ts"
}

/** The environment of the servers: AppKit reads the names of its resources there. */
export const resources = {
  DATABRICKS_SERVING_ENDPOINT_NAME: "model",
  DATABRICKS_VOLUME_FILES: "/Volumes/main/default/files"
}

export interface Streams {
  readonly traffic: Child
  readonly ask: <A>(question: Question) => Effect.Effect<A>
  readonly users: ReadonlyArray<Sender["headers"]>
  /** In the order of `peers`. */
  readonly servers: ReadonlyArray<Bed.Server & { readonly peer: Peer }>
}

/** Starts the servers, each of which has answered every user. */
export const make = (count: number): Effect.Effect<Streams, never, Scope.Scope> =>
  Effect.gen(function* () {
    const bed = yield* Bed.make(count, 104)
    const traffic = yield* fork("traffic.ts", { env: bed.env })
    const ask = <A>(question: Question) => traffic.ask<A>(question)
    const { url } = yield* ask<{ readonly url: string }>({
      do: "origin",
      upstream: bed.env["DATABRICKS_HOST"] ?? "",
      certificates: bed.certificate
    })
    const env = { ...bed.env, ...resources, DATABRICKS_HOST: url }
    const servers = yield* Effect.forEach(peers, (peer) =>
      Effect.map(Bed.serve({ ...bed, env }, peer, { modules, execArgv }), (server) => ({
        ...server,
        peer
      }))
    )
    const senders = yield* bed.senders(0, count, () => "")
    return { traffic, ask, users: senders.map(({ headers }) => headers), servers }
  })

/** What each peer has used, in the order of the rounds. */
export const samplesOf = <A>() => {
  const samples = new Map<Peer, Array<A>>(peers.map((peer) => [peer, []]))
  return {
    add: (peer: Peer, sample: A) => void samples.get(peer)!.push(sample),
    of: (peer: Peer, what: (sample: A) => number) => samples.get(peer)!.map(what),
    /** Ours as a multiple of the peer's, in each round. */
    ratios: (peer: Peer, what: (sample: A) => number) =>
      ratiosOf(samples.get("ours")!.map(what), samples.get(peer)!.map(what))
  }
}

/** Every server once in every round, each round from another on. */
export const inTurns = <R>(
  servers: Streams["servers"],
  rounds: number,
  run: (server: Streams["servers"][number]) => Effect.Effect<void, never, R>
) =>
  Effect.forEach(
    Array.from({ length: rounds }, (_, round) => servers.map((_, turn) => servers[(round + turn) % servers.length]!)),
    (turns) => Effect.forEach(turns, run, { discard: true }),
    { discard: true }
  )
