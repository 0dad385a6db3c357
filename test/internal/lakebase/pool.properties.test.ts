import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Schema } from "effect"
import type * as Pool from "../../../src/internal/lakebase/pool.ts"
import * as Fixture from "../../fixtures/pool.ts"
import { pass, settle } from "../../fixtures/pool.ts"

const callers = ["a", "b", "c", "d", "e", "f"]
const Which = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))

const Step = Schema.Union([
  // A call of the app or of a user, on its own or inside another: a statement, or what keeps its connection.
  Schema.Struct({
    do: Schema.Literals(["statement", "keep", "keep"]),
    caller: Schema.Literals(["app", "app", ...callers]),
    inside: Schema.Literals(["nothing", "nothing", "another"]),
    which: Which
  }),
  Schema.Struct({ do: Schema.Literals(["release", "release", "interrupt", "kill", "break", "mend"]), which: Which }),
  // The server lets all have so many, or one of them.
  Schema.Struct({ do: Schema.Literals(["allow", "role"]), which: Which, many: Schema.Literals([0, 1, 2, 4, 50, 50]) }),
  Schema.Struct({ do: Schema.Literal("pass"), millis: Schema.Literals([0, 1, 7, 29, 30, 31, 100, 999, 1_000, 40_000]) })
])

/** So many connections of a limit may be kept, by calls that are inside so many others. */
const keepable = (limit: number, depth: number) => limit - Math.max(0, Math.min(2, Math.floor(limit / 2)) - depth)

type Fixture = Effect.Success<ReturnType<typeof Fixture.make>>

interface Side {
  readonly fixture: Fixture
  readonly total: number
  readonly perCaller: number
}

interface Call extends Effect.Success<ReturnType<Fixture["hold"]>> {
  readonly side: Side
  readonly caller: string
  readonly keeps: boolean
  readonly within: () => ReadonlyArray<Pool.Hold>
  readonly parent: Call | undefined
  readonly depth: number
  readonly since: number
}

/** Those of the calls that never come to their turn, if each ends once nothing inside it waits. */
const stuckOf = (calls: ReadonlyArray<Call>) => {
  let left = [...calls]
  for (let before = NaN; before !== left.length;) {
    before = left.length
    const having = (_: Call) => _.has()
    const waits = new Set(left.filter((_) => !having(_)).flatMap((_) => [_, ...ancestorsOf(_)]))
    left = left.filter((_) => waits.has(_))
    const next = left.find((waiter) => {
      if (having(waiter)) return false
      const beside = left.filter((_) => having(_) && _.side === waiter.side)
      const most = (limit: number) => (waiter.keeps ? keepable(limit, waiter.depth) : limit)
      const own = beside.filter((_) => _.caller === waiter.caller)
      return own.length < most(waiter.side.perCaller) && beside.length < most(waiter.side.total)
    })
    if (next !== undefined) left = left.filter((_) => _ !== next)
  }
  return left
}

const ancestorsOf = ({ parent }: Call): ReadonlyArray<Call> =>
  parent === undefined ? [] : [parent, ...ancestorsOf(parent)]

describe("the pools", () => {
  it.effect.prop(
    "keep their limits, serve every call that they can, fail a call at once that would wait for itself, and end empty",
    {
      steps: Schema.Array(Step).check(Schema.isMinLength(100), Schema.isMaxLength(300)),
      app: Schema.Literals([1, 2, 4]),
      total: Schema.Literals([1, 2, 3, 4, 6]),
      perCaller: Schema.Literals([1, 2, 3]),
      openTakes: Schema.Literals([0, 5, 50]),
      closeTakes: Schema.Literals([0, 5, 50]),
      /** Whether the server allows fewer now and then. */
      limited: Schema.Boolean
    },
    ({ app, closeTakes, limited, openTakes, perCaller, steps, total }) =>
      Effect.scoped(
        Effect.gen(function* () {
          let allowed = 50
          const roles = new Map<string, number>()
          const refuses = (caller: string) =>
            service.fixture.alive() + users.fixture.alive() >= allowed
              ? "server"
              : [service, users].some(({ fixture }) => fixture.alive(caller) >= (roles.get(caller) ?? 50))
                ? "role"
                : undefined
          const sideOf = Effect.fnUntraced(function* (total: number, perCaller: number) {
            const acquireTimeout = Duration.hours(1)
            const maxLifetime = Duration.minutes(2)
            const options = { total, perCaller, openTakes, closeTakes, refuses, acquireTimeout, maxLifetime }
            return { fixture: yield* Fixture.make(options), total, perCaller }
          })
          const service: Side = yield* sideOf(app, app)
          const users: Side = yield* sideOf(total, perCaller)
          const sides = [service, users]
          let calls: Array<Call> = []
          const left = new Map<string, number>()

          const check = Effect.fnUntraced(function* () {
            yield* settle
            const time = yield* Clock.currentTimeMillis
            for (const { caller, ended } of calls) if (ended()) left.set(caller, time)
            calls = calls.filter((_) => !_.ended())
            for (const { fixture, perCaller, total } of sides) {
              const { alive, made, pool, wrong } = fixture
              const { idle, total: counted, waiting } = pool.stats()
              const own = calls.filter((_) => _.side.fixture === fixture)
              const using = own.filter((_) => _.has())
              assert.deepStrictEqual(wrong, [])
              assert.isAtMost(counted, total)
              assert.isAtMost(alive(), counted)
              assert.strictEqual(made.filter((_) => _.state === "open" && _.users === 0).length, idle)
              assert.strictEqual(made.filter((_) => _.users > 0).length, using.length)
              const kept = using.filter((_) => _.keeps)
              // What is kept on its own leaves some for statements and for calls inside of others.
              assert.isAtMost(kept.filter((_) => _.depth === 0).length, keepable(total, 0))
              const waiters = own.filter((_) => !_.has())
              assert.isAtLeast(waiters.length, waiting)
              // A call waits only if all connections are in use, its caller is at the limit, or its grace is not over.
              if (waiters.length > waiting || using.length >= total || limited) continue
              for (const { caller, depth, keeps, since } of waiters) {
                // A call that has ended keeps its place until its connection has closed.
                const mayHaveLeft = time - (left.get(caller) ?? -Infinity) < closeTakes
                if (alive(caller) >= perCaller || mayHaveLeft) continue
                const ownKept = kept.filter((_) => _.caller === caller).length
                if (keeps && (kept.length >= keepable(total, depth) || ownKept >= keepable(perCaller, depth))) continue
                assert.strictEqual(counted, total, `${caller} waits though there is room`)
                if (idle > 0 && alive(caller) === 0)
                  assert.isAtMost(time - since, 60, `${caller} waits though another's connection is idle`)
              }
            }
            if (!limited) assert.deepStrictEqual(stuckOf(calls), [])
          })

          /** Ends what is inside of a call, and then the call. */
          const end = (call: Call, how: "end" | "interruptUnsafe"): Effect.Effect<void> =>
            Effect.gen(function* () {
              for (const child of calls) if (child.parent === call) yield* end(child, how)
              yield* call[how]
              calls = calls.filter((_) => _ !== call || !_.ended())
            })

          for (const step of steps) {
            switch (step.do) {
              case "statement":
              case "keep": {
                const having = calls.filter((_) => _.keeps && _.has())
                const parent = step.inside === "another" ? having[step.which % having.length] : undefined
                const { caller } = step
                const since = yield* Clock.currentTimeMillis
                const side = caller === "app" ? service : users
                const keeps = step.do === "keep"
                const held = yield* side.fixture.hold(caller, parent?.within(), keeps)
                const call = { ...held, side, caller, keeps, parent, depth: parent?.within().length ?? 0, since }
                if (held.failure() === undefined) calls.push(call)
                else if (String(held.failure()).startsWith("stuck")) {
                  const stuck = { ...call, has: () => false }
                  assert.include(stuckOf([...calls, stuck]), stuck, "a call failed that would have had its turn")
                }
                break
              }
              case "release":
              case "interrupt": {
                const call = calls[step.which % calls.length]
                if (call !== undefined) yield* end(call, step.do === "release" ? "end" : "interruptUnsafe")
                break
              }
              case "kill": {
                const open = sides.flatMap(({ fixture }) => fixture.made).filter((_) => _.state === "open")
                const resource = open[step.which % open.length]
                if (resource !== undefined) resource.alive = false
                break
              }
              case "break":
                users.fixture.failing.add(callers[step.which % callers.length]!)
                break
              case "mend":
                users.fixture.failing.clear()
                break
              case "allow":
                if (limited) allowed = step.many
                break
              case "role":
                if (limited) roles.set(callers[step.which % callers.length]!, step.many)
                break
              case "pass":
                yield* pass(step.millis)
            }
            yield* check()
          }

          // The server allows all again, each call ends once nothing inside it waits, and all connections fall idle.
          allowed = 50
          roles.clear()
          for (let i = 0; i < 60 && calls.length > 0; i++) {
            for (const call of calls) if (call.has() && !calls.some((_) => _.parent === call)) yield* call.end
            yield* pass("1 second")
            yield* check()
          }
          assert.deepStrictEqual(calls, [])
          yield* pass("32 seconds")
          for (const { fixture } of sides) {
            assert.deepInclude(fixture.pool.stats(), { total: 0, idle: 0, waiting: 0 })
            assert.isTrue(fixture.made.every((_) => _.state === "closed"))
            yield* fixture.close
          }
        })
      ),
    // They take as long as the machine needs for them.
    { arbitrary: { runs: 100 }, timeout: 300_000 }
  )
})
