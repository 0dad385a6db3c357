/** One route of every server under the same load, in turns. */
import { Console, Effect } from "effect"
import { availableParallelism } from "node:os"
import * as Bed from "./bed.ts"
import { cpu, cpuOfFamily, cpuOfMachine, main } from "./child.ts"
import type { Job, Outcome, Sender } from "./load.ts"
import { execArgv, held, profile, reach, show as showProfiles } from "./profile.ts"
import { atMost, median, ratiosOf, spread, table, tell } from "./results.ts"

export interface Work {
  readonly name: string
  readonly path: string
  readonly due: (user: number) => string
  /** Ours as a multiple of the peer's, at most. */
  readonly goals: ReadonlyArray<Goal>
  /** Whether it is measured without TLS too. */
  readonly plain?: boolean
  /** Further results of the samples. */
  readonly more?: (samples: Samples) => Effect.Effect<void>
}

/** What the works of one measurement share. */
export interface Setting {
  readonly users: number
  /** As many requests are under way at a time. */
  readonly connections: number
  readonly server?: Bed.ServerOptions
  readonly maxConnections?: number
}

/** Of a Lakebase query, with few users and with many. */
export const lakebaseGoals: ReadonlyArray<Goal> = [
  { what: "server's CPU", peer: "AppKit", atMost: 0.5 },
  { what: "server's CPU", peer: "by hand", atMost: 1.6 },
  { what: "p99", peer: "by hand", atMost: 1.1 }
]

export interface Goal {
  readonly what: keyof typeof figures
  readonly peer: Bed.Peer
  readonly atMost: number
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

/** The compared figures, the main one first. */
const figures = {
  "server's CPU": (sample: Sample) => sample.server,
  p99: (sample: Sample) => sample.p99,
  "requests/s": (sample: Sample) => sample.rate
}

const peers = ["ours", "AppKit", "by hand"] as const
/** Many short rounds: of two that follow each other, the machine's other work disturbs both. */
const [warmUp, seconds, profiled] = Bed.quick ? [0.25, 0.5, 0.5] : [0.15, 0.8, 1.2]

/** The same servers in all works. More than one have a heading each. */
export const compare = (setting: Setting, works: ReadonlyArray<Work>) =>
  main(
    Effect.gen(function* () {
      const bed = yield* Bed.make(setting.users, setting.maxConnections ?? 104)
      const serve = (options: Bed.ServerOptions) =>
        Effect.forEach(peers, (peer) => Bed.serve(bed, peer, { ...setting.server, ...options }))
      const measuredWithout = yield* Effect.scoped(
        Effect.gen(function* () {
          const plain = works.filter(({ plain }) => plain === true)
          if (plain.length === 0) return new Map<Work, Samples>()
          const servers = yield* serve({ tls: false })
          const rounds = Math.min(3, Bed.rounds)
          return new Map(
            yield* Effect.forEach(plain, (work) =>
              Effect.map(measured(bed, setting, work, servers, rounds), ({ samples }) => [work, samples] as const)
            )
          )
        })
      )
      const servers = yield* serve({ execArgv })
      for (const work of works) {
        if (works.length > 1) yield* Console.log(`\n### ${title(work.name)}\n`)
        yield* compared(bed, setting, work, servers, measuredWithout.get(work))
      }
    })
  )

const title = (name: string) => name[0]!.toUpperCase() + name.slice(1)

const measured = Effect.fnUntraced(function* (
  bed: Bed.Bed,
  setting: Setting,
  work: Work,
  servers: ReadonlyArray<Bed.Server>,
  rounds: number
) {
  const senders = yield* bed.senders(0, setting.users, work.due)
  const apply: Apply = ({ port }, job) =>
    bed.load({ port, path: work.path, connections: setting.connections, senders, ...job })
  yield* signIn(apply, servers, senders)
  for (const server of servers) yield* Bed.warm((seconds) => apply(server, { seconds }))
  const samples = new Map(peers.map((peer) => [peer, [] as Array<Sample>]))
  for (let round = 0; round < rounds; round++) {
    if (round % 3 === 0) for (const server of servers) yield* greet(apply, server, senders)
    for (let turn = 0; turn < servers.length; turn++) {
      const server = servers[(round + turn) % servers.length]!
      samples.get(server.peer)!.push(yield* sampleOf(bed, apply, server))
    }
  }
  return { apply, samples }
})

const compared = Effect.fnUntraced(function* (
  bed: Bed.Bed,
  setting: Setting,
  work: Work,
  servers: ReadonlyArray<Bed.Server>,
  plain: Samples | undefined
) {
  const { apply, samples } = yield* measured(bed, setting, work, servers, Bed.rounds)
  yield* show(work.name, work.goals, samples)
  if (work.more !== undefined) yield* work.more(samples)
  const profiles = yield* Effect.forEach(servers, (server) =>
    profile(
      server.peer,
      server,
      Effect.map(apply(server, { seconds: profiled }), ({ answered }) => answered)
    )
  )
  yield* Console.log("")
  yield* reasons(work, samples, profiles[0]!)
  if (work.goals.some(({ what }) => what === "p99")) yield* Console.log(held(profiles, setting.connections))
  if (plain !== undefined) {
    yield* Console.log("\nWithout TLS:\n")
    yield* show(`${work.name}, without TLS`, [], plain)
  }
  yield* showProfiles(profiles)
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

/** What the profile says of the goals for CPU that are missed. */
const reasons = Effect.fnUntraced(function* (work: Work, samples: Samples, profile: Parameters<typeof reach>[0]) {
  const cost = (peer: Bed.Peer) => median(samples.get(peer)!.map(({ server }) => server))
  for (const { atMost: goal, peer, what } of work.goals) {
    const left = goal * cost(peer)
    if (what !== "server's CPU" || cost("ours") <= left) continue
    yield* Console.log(reach(profile, `${atMost(goal)}× ${peer}`, left, cost("ours")))
  }
})

const show = Effect.fnUntraced(function* (name: string, goals: ReadonlyArray<Goal>, samples: Samples) {
  const of = (peer: Bed.Peer, what: (sample: Sample) => number) => samples.get(peer)!.map(what)
  const sum = (peer: Bed.Peer, what: (sample: Sample) => number) => of(peer, what).reduce((a, b) => a + b)
  const cells = (peer: Bed.Peer) => [
    spread(of(peer, ({ server }) => server)),
    spread(of(peer, ({ rate }) => rate)),
    spread(of(peer, ({ p50 }) => p50)),
    spread(of(peer, ({ p99 }) => p99)),
    ...(["postgres", "workspace", "loader"] as const).map((what) => median(of(peer, (_) => _[what])).toFixed(0)),
    `${Math.round(median(of(peer, ({ busy }) => busy)) * 100)} %`,
    (sum(peer, ({ dialled }) => dialled) / sum(peer, ({ answered }) => answered)).toFixed(3),
    String(sum(peer, ({ failed }) => failed))
  ]
  yield* Console.log(
    table(
      [
        "",
        "server, µs CPU each",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "Postgres µs",
        "workspace µs",
        "load µs",
        "server busy",
        "new TCP to the workspace, each",
        "failed"
      ],
      peers.map((peer) => [peer, ...cells(peer)])
    )
  )
  const others = median([...samples.values()].flat().map((_) => _.others))
  yield* Console.log(`\nSomething else had ${Math.round(others * 100)} % of this machine.\n`)
  for (const peer of ["AppKit", "by hand"] as const) {
    for (const [what, figure] of Object.entries(figures)) {
      const goal = goals.find((goal) => goal.peer === peer && goal.what === what)?.atMost
      const ratios = ratiosOf(of("ours", figure), of(peer, figure))
      yield* tell({ comparison: { work: name, peer, what, ratios, ...(goal !== undefined && { goal }) } })
    }
  }
})
