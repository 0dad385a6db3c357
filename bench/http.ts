/** One route of every server under the same load, in turns. */
import { Console, Effect, type Scope } from "effect"
import * as Bed from "./bed.ts"
import { cpu, cpuOfFamily, cpuOfMachine, main } from "./child.ts"
import type { Job, Outcome, Sender } from "./load.ts"
import { execArgv, held, partsOf, profile, reach, show as showProfiles } from "./profile.ts"
import { availableParallelism } from "node:os"
import { median, short, spread, table, tell } from "./results.ts"

export interface Work {
  readonly name: string
  readonly path: string
  readonly due: (user: number) => string
  readonly users: number
  /** As many requests are under way at a time. */
  readonly connections: number
  readonly peers: ReadonlyArray<Bed.Peer>
  readonly goals: Partial<Record<Bed.Peer, number>>
  readonly server?: Bed.ServerOptions
  readonly maxConnections?: number
  /** Further measurements in the same workspace. */
  readonly more?: (bed: Bed.Bed, samples: Samples) => Effect.Effect<void, never, Scope.Scope>
}

/** CPU is in microseconds for each request. */
export interface Sample extends Outcome {
  readonly rate: number
  readonly server: number
  readonly postgres: number
  readonly workspace: number
  readonly loader: number
  /** Which part of the time the server had the CPU; it has one thread. */
  readonly busy: number
  /** New TCP connections to the workspace. */
  readonly dialled: number
  /** Which part of the machine was busy with something else. */
  readonly others: number
}

export type Samples = ReadonlyMap<Bed.Peer, ReadonlyArray<Sample>>

const [warmUp, seconds] = Bed.quick ? [0.5, 1] : [0.25, 1.5]

export const compare = (work: Work) => main(compared(work))

const compared = (work: Work) =>
  Effect.gen(function* () {
    const bed = yield* Bed.make(work.users, work.maxConnections ?? 104)
    const senders = yield* bed.senders(0, work.users, work.due)
    const apply: Apply = ({ port }, job) =>
      bed.load({ port, path: work.path, connections: work.connections, senders, ...job })
    const servers = yield* Effect.forEach(work.peers, (peer) => Bed.serve(bed, peer, { ...work.server, execArgv }))
    yield* signIn(apply, servers, senders)
    for (const server of servers) yield* Bed.warm((seconds) => apply(server, { seconds }))
    const samples = new Map(work.peers.map((peer) => [peer, [] as Array<Sample>]))
    for (let round = 0; round < Bed.rounds; round++) {
      for (const server of servers) yield* greet(apply, server, senders)
      for (let turn = 0; turn < servers.length; turn++) {
        const server = servers[(round + turn) % servers.length]!
        samples.get(server.peer)!.push(yield* sampleOf(bed, apply, server))
      }
    }
    yield* show(work, samples)
    const profiles = yield* Effect.forEach(servers, (server) =>
      profile(
        server.peer,
        server,
        Effect.map(apply(server, { seconds }), ({ answered }) => answered)
      )
    )
    for (const server of servers) yield* server.stop
    yield* Console.log("")
    const of = (peer: Bed.Peer, what: (sample: Sample) => number) => median(samples.get(peer)!.map(what))
    const cost = of("ours", ({ server }) => server)
    const byHand = work.goals["by hand"]
    if (byHand !== undefined) {
      const { effect, others } = partsOf(profiles[0]!, cost)
      const burden = Math.max(1, Math.round(others + effect - of("by hand", ({ server }) => server)))
      yield* burdened(bed, apply, senders, burden, byHand)
    }
    if (work.more !== undefined) yield* work.more(bed, samples)
    const rest = of("ours", (_) => _.postgres + _.workspace + _.loader)
    for (const peer of work.peers) {
      const goal = work.goals[peer]
      if (goal === undefined) continue
      const each = 1e6 / (goal * of(peer, ({ rate }) => rate))
      // It has one thread, and the machine so many cores, on which the others are at work too.
      const left = Math.max(0, Math.min(each, availableParallelism() * each - rest))
      yield* Console.log(reach(profiles[0]!, `${goal}× ${peer}`, left, cost))
    }
    if (byHand !== undefined) yield* Console.log(held(profiles, work.connections))
    yield* showProfiles(profiles)
  })

/**
 * The best possible rate, if our code and its garbage cost nothing: the server by hand with a prepared statement, plus the
 * time that the kernel, Node and the libraries spend on a request of ours beyond that.
 */
const burdened = Effect.fnUntraced(function* (
  bed: Bed.Bed,
  apply: Apply,
  senders: ReadonlyArray<Sender>,
  burden: number,
  goal: number
) {
  const pair = [yield* Bed.serve(bed, "by hand"), yield* Bed.serve(bed, "by hand", { burden })] as const
  yield* signIn(apply, pair, senders)
  for (const server of pair) yield* Bed.warm((seconds) => apply(server, { seconds }))
  const ratios: Array<{ readonly rate: number; readonly p99: number }> = []
  for (let round = 0; round < Bed.rounds; round++) {
    for (const server of pair) yield* greet(apply, server, senders)
    const bare = yield* sampleOf(bed, apply, pair[0])
    const laden = yield* sampleOf(bed, apply, pair[1])
    ratios.push({ rate: laden.rate / bare.rate, p99: bare.p99 / laden.p99 })
  }
  for (const server of pair) yield* server.stop
  const verdict = (what: "rate" | "p99", goal: number) => {
    const found = ratios.map((ratio) => ratio[what])
    const reached =
      Math.max(...found) < goal ? "out of reach" : Math.min(...found) < goal ? "at the edge even so" : "reached only so"
    return `${spread(found)}× by hand, of ${goal}: ${reached}`
  }
  yield* Console.log(
    `- If nothing of ours cost anything, nor its garbage (by hand with a prepared statement, and on top the ${burden} µs of ` +
      `CPU that the kernel, Node, its libraries and Effect spend more on a request of ours): requests/s ` +
      `${verdict("rate", goal)}; p99 ${verdict("p99", 1)}.`
  )
})

/** Lets every user request this work of a server, unless the job has other senders. */
type Apply = (server: Bed.Server, job: Partial<Pick<Job, "once" | "seconds" | "senders">>) => Effect.Effect<Outcome>

/**
 * Warms every server with every user. On a slow machine it repeats that before a pool closes connections that are idle for
 * 30 s. Otherwise logins, and logoffs of another server, would be measured.
 */
const signIn = Effect.fnUntraced(function* (
  apply: Apply,
  servers: ReadonlyArray<Bed.Server>,
  senders: ReadonlyArray<Sender>
) {
  for (let came = 0; came < senders.length;) {
    came += 100
    for (const server of servers) yield* greet(apply, server, senders.slice(0, came))
  }
})

/** Each of these once. */
const greet = Effect.fnUntraced(function* (apply: Apply, server: Bed.Server, senders: ReadonlyArray<Sender>) {
  const { failed, failure } = yield* apply(server, { once: true, senders })
  if (failed > 0) yield* Effect.die(new Error(`${server.peer}: ${failed} requests failed, such as ${failure}`))
})

const sampleOf = Effect.fnUntraced(function* (bed: Bed.Bed, apply: Apply, server: Bed.Server) {
  yield* apply(server, { seconds: warmUp })
  const used = () => ({
    server: cpu(server.pid),
    postgres: cpuOfFamily(bed.postmaster),
    workspace: cpu(bed.workspace.pid),
    loader: cpu(bed.loader.pid),
    machine: cpuOfMachine()
  })
  const { connections } = yield* bed.counts
  const before = used()
  const outcome = yield* apply(server, { seconds })
  const after = used()
  const spent = (what: keyof typeof before) => after[what] - before[what]
  const each = (what: keyof typeof before) => (spent(what) / outcome.answered) * 1e6
  const own = spent("server") + spent("postgres") + spent("workspace") + spent("loader")
  const sample: Sample = {
    ...outcome,
    rate: (outcome.answered - outcome.failed) / outcome.seconds,
    server: each("server"),
    postgres: each("postgres"),
    workspace: each("workspace"),
    loader: each("loader"),
    busy: spent("server") / outcome.seconds,
    others: (spent("machine") - own) / (outcome.seconds * availableParallelism()),
    dialled: (yield* bed.counts).connections - connections
  }
  return sample
})

/** The bound of ours: its one thread, or the load of the whole machine. */
const limit = (ours: ReadonlyArray<Sample>) => {
  const of = (what: (sample: Sample) => number) => median(ours.map(what))
  const cores = availableParallelism()
  const own = 1e6 / of(({ server }) => server)
  const all = (cores * 1e6) / of((_) => _.server + _.postgres + _.workspace + _.loader)
  const rate = of(({ rate }) => rate)
  return (
    `Limit of ours: its one thread could answer ${short(own)} a second, and ${cores} cores that also carry the load` +
    ` and what it asks ${short(all)}; it answered ${short(rate)}, ${Math.round((rate / Math.min(own, all)) * 100)} % of the lesser.`
  )
}

const show = Effect.fnUntraced(function* (work: Work, samples: Samples) {
  const of = (peer: Bed.Peer, what: (sample: Sample) => number) => samples.get(peer)!.map(what)
  const cells = (peer: Bed.Peer) => [
    spread(of(peer, ({ rate }) => rate)),
    spread(of(peer, ({ p50 }) => p50)),
    spread(of(peer, ({ p99 }) => p99)),
    spread(of(peer, ({ server }) => server)),
    ...(["postgres", "workspace", "loader"] as const).map((what) => median(of(peer, (_) => _[what])).toFixed(0)),
    `${Math.round(median(of(peer, ({ busy }) => busy)) * 100)} %`,
    (
      of(peer, ({ dialled }) => dialled).reduce((a, b) => a + b) /
      of(peer, ({ answered }) => answered).reduce((a, b) => a + b)
    ).toFixed(3),
    String(of(peer, ({ failed }) => failed).reduce((a, b) => a + b))
  ]
  yield* Console.log(
    table(
      [
        "",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "server, µs CPU each",
        "Postgres µs",
        "workspace µs",
        "load µs",
        "server busy",
        "new TCP to the workspace, each",
        "failed"
      ],
      work.peers.map((peer) => [peer, ...cells(peer)])
    )
  )
  const ours = samples.get("ours")!
  const others = median([...samples.values()].flat().map((_) => _.others))
  yield* Console.log(`\n${limit(ours)} Something else had ${Math.round(others * 100)} % of this machine.\n`)
  for (const peer of work.peers) {
    if (peer === "ours") continue
    const theirs = samples.get(peer)!
    const ratios = (ratio: (ours: Sample, theirs: Sample) => number) =>
      ours.map((sample, round) => ratio(sample, theirs[round]!))
    const goal = work.goals[peer]
    const about = { work: work.name, peer }
    yield* tell({
      comparison: {
        ...about,
        what: "requests/s",
        ratios: ratios((a, b) => a.rate / b.rate),
        ...(goal !== undefined && { goal })
      }
    })
    yield* tell({ comparison: { ...about, what: "server's CPU", ratios: ratios((a, b) => b.server / a.server) } })
    yield* tell({
      comparison: {
        ...about,
        what: "p99",
        ratios: ratios((a, b) => b.p99 / a.p99),
        ...(peer === "by hand" && goal !== undefined && { goal: 1 })
      }
    })
  }
})
