/** What a request allocates on V8's heap, by route and by package: each kB is collected, while requests wait. */
import { Console, Effect } from "effect"
import * as Bed from "../bed.ts"
import { main } from "../child.ts"
import { health, orders, salesOf } from "../data.ts"
import { allocations, details, execArgv, partsOf, type Profile, whole } from "../profile.ts"
import { short, table, tell } from "../results.ts"

const routes = [
  { path: "/orders", due: orders },
  { path: "/sales", due: salesOf },
  { path: "/cached", due: salesOf },
  { path: "/health", due: () => health }
] as const

/** In kB: half of what issue 21 began with. */
const goal = 23
const users = 20
const sampled = Bed.quick ? 500 : 10_000
/** For the samples of a route, at most. */
const seconds = 1.2

/** One server in all routes, which is warm in all of them before the first is sampled. */
const allocationsOf = (bed: Bed.Bed, peer: Bed.Peer) =>
  Effect.gen(function* () {
    const server = yield* Bed.serve(bed, peer, { execArgv })
    const loads = yield* Effect.forEach(routes, ({ due, path }) =>
      Effect.map(bed.senders(0, users, due), (senders) => ({
        path,
        load: (seconds: number) => bed.load({ port: server.port, path, connections: users, seconds, senders })
      }))
    )
    for (const { load } of loads) yield* Bed.warm(load)
    return yield* Effect.forEach(loads, ({ load, path }) =>
      allocations(path, server, Bed.loadUntil(load, sampled, seconds))
    )
  }).pipe(Effect.scoped)

const each = (profile: Profile) => whole(profile) / profile.requests

/** The parts of a goal that is missed. It is out of reach if the packages other than ours and Effect's need more. */
const reach = (profile: Profile) => {
  const { collector, effect, others, own } = partsOf(profile, each(profile))
  const rest = others + collector
  return (
    `- Of the ${short(each(profile))} kB, Node, native code and libraries allocate ${short(rest)}, Effect ${short(effect)}, ` +
    `this project and the application ${short(own)}: ` +
    (rest > goal
      ? "out of reach here, whatever Effect and we would do."
      : rest + effect > goal
        ? "out of reach here on Effect as it is, whatever we would do."
        : `within reach if this project and the application allocated ${short(goal - rest - effect)}.`)
  )
}

main(
  Effect.gen(function* () {
    const bed = yield* Bed.make(users, 104)
    const ours = yield* allocationsOf(bed, "ours")
    const appkit = yield* allocationsOf(bed, "AppKit")
    const byHand = yield* allocationsOf(bed, "by hand")
    const found = [ours, appkit, byHand]
    yield* Console.log(
      table(
        ["kB a request", "ours", "AppKit", "by hand"],
        routes.map(({ path }, index) => [path, ...found.map((profiles) => short(each(profiles[index]!)))])
      )
    )
    const requests = found.flat().map(({ requests }) => requests)
    yield* Console.log(
      `\nEach figure is of ${Math.min(...requests).toLocaleString("en")} to ${Math.max(...requests).toLocaleString("en")} requests, sampled every 16 KiB. ` +
        "The bytes of buffers are outside the heap and not counted.\n"
    )
    const lakebase = ours[0]!
    yield* tell({
      check: {
        work: "allocations of a user-scoped Lakebase query",
        goal: `≤ ${goal} kB (half of 46)`,
        found: `${short(each(lakebase))} kB (by hand ${short(each(byHand[0]!))})`,
        holds: each(lakebase) <= goal
      }
    })
    if (each(lakebase) > goal) yield* Console.log(reach(lakebase))
    yield* details("Which packages of ours allocate it, in kB a request", "allocated in", ours)
  })
)
