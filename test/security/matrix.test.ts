import { assert, layer } from "@effect/vitest"
import { OperationCache, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Layer, Random, type Scope } from "effect"
import { lakebase, schema } from "../fixtures/lakebaseClient.ts"
import { serve, type Served } from "../http/harness.ts"
import { Kept, ofCaller, ofService, ofUser, type Services } from "./entryPoints.ts"
import { People, type Situation, within } from "./situations.ts"
import { ofSender, Routes } from "./routes.ts"

const situations: ReadonlyArray<Situation> = [
  ["service"],
  ["alice"],
  ["bob"],
  ["service", "alice"],
  ["alice", "service"],
  ["alice", "bob"],
  ["alice", "bob", "service", "alice"],
  ["bob", "alice", "service"]
]

type R = Services | Kept | Served | Scope.Scope

/** Whom the other side saw of one way in, and whom it should; `undefined` where there is nobody to run it. */
interface EntryPoint {
  readonly name: string
  readonly seenIn: (situation: Situation) => Effect.Effect<ReadonlyArray<string>, unknown, R>
  readonly expected: (situation: Situation) => string | undefined
}

const isUser = (who: string) => who !== "service"

const outcome = (expected: string | undefined) => (expected === "401" ? "answers 401" : `runs as ${expected}`)

const entryPoints: ReadonlyArray<EntryPoint> = [
  ...Object.entries(ofCaller).map(([name, seen]) => ({
    name,
    seenIn: (situation: Situation) => within(situation, seen),
    expected: (situation: Situation) => situation.at(-1)
  })),
  ...Object.entries(ofService).map(([name, seen]) => ({
    name,
    seenIn: (situation: Situation) => within(situation, seen),
    expected: () => "service"
  })),
  ...Object.entries(ofUser).map(([name, seen]) => ({
    name,
    // A situation with a user in it provides UserContext, which the type of situations cannot tell.
    seenIn: (situation: Situation) => within(situation, seen as Effect.Effect<ReadonlyArray<string>, unknown, R>),
    expected: (situation: Situation) => situation.findLast(isUser)
  })),
  ...Object.entries(ofSender).map(([name, seenIn]) => ({
    name,
    seenIn,
    expected: (situation: Situation) => (isUser(situation[0]!) ? situation.at(-1) : "401")
  }))
]

// Who listens holds a connection and needs another, and here all do so at once.
const Database = lakebase({ maxConnections: 60, maxConnectionsPerUser: 20, maxConnectionsService: 20 })

const Application = Kept.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(SqlWarehouse.layer, OperationCache.layer(), Database, People.layer)),
  (services) => Layer.provideMerge(services, serve(Routes, { services }))
)

const Workspace = Layer.effectDiscard(schema).pipe(Layer.provideMerge(LocalWorkspace.layer()))

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Identity under nested callers", (it) => {
  it.layer(Application)((it) => {
    for (const { expected, name, seenIn } of entryPoints) {
      for (const situation of situations.filter((_) => expected(_) !== undefined)) {
        it.effect(`${name} ${outcome(expected(situation))} in ${situation.join(" → ")}`, () =>
          Effect.gen(function* () {
            const seen = yield* seenIn(situation)
            assert.isNotEmpty(seen)
            for (const who of seen) assert.strictEqual(who, expected(situation))
          })
        )
      }

      it.effect(`${name} keeps its identity when all callers run at once`, () =>
        Effect.gen(function* () {
          const callers = situations.filter((_) => expected(_) !== undefined)
          const runs = yield* Random.shuffle(Array.from({ length: 3 }, () => callers).flat())
          const seen = yield* Effect.forEach(runs, seenIn, { concurrency: "unbounded" })
          for (const [index, names] of seen.entries()) {
            for (const who of names) assert.strictEqual(who, expected(runs[index]!), runs[index]!.join(" > "))
          }
        })
      )
    }
  })
})
