import { assert, layer } from "@effect/vitest"
import {
  asService,
  asUser,
  getCurrentUserId,
  Lakebase,
  Operation,
  OperationCache,
  provideUser,
  type ServiceContext,
  SqlWarehouse,
  UserContext,
  WorkspaceClient
} from "effect-databricks"
import { Cause, Effect, Exit, Layer, Schema, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { lakebase } from "./fixtures/lakebaseClient.ts"
import { alice, as, bob, requestOf } from "./fixtures/people.ts"
import { Workspace } from "./fixtures/workspace.ts"

const Live = Layer.mergeAll(OperationCache.layer(), SqlWarehouse.layer, lakebase()).pipe(Layer.provideMerge(Workspace))

const Who = Schema.Struct({ who: Schema.String })
const select = SqlWarehouse.query(Who)`SELECT current_user AS who`
const cached = (name: string) => Operation.execute({ name, cache: { key: [] } })

type Services = ServiceContext.ServiceContext | SqlWarehouse.SqlWarehouse

/** Whether an effect died of a user who runs in what is cached for another caller. */
const dies = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(
    Effect.exit(effect),
    (exit) => Exit.isFailure(exit) && Cause.pretty(exit.cause).includes("put asUser around the cached operation")
  )

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("Operation.execute with OperationCache", (it) => {
  it.effect("dies where asUser stands inside the cached operation, and keeps nothing of it", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const insides: ReadonlyArray<Effect.Effect<unknown, unknown, Services>> = [
        Effect.provide(select, asUser(request)),
        provideUser(select, request),
        provideUser(getCurrentUserId, request),
        Stream.runCollect(Stream.provide(SqlWarehouse.stream(Who)`SELECT current_user AS who`, asUser(request)))
      ]
      for (const inside of insides) assert.isTrue(yield* dies(cached("inside")(inside)))
      const kept = yield* Effect.result(cached("inside")(Effect.succeed("nothing of alice's")))
      assert.deepInclude(kept, { success: "nothing of alice's" })
    })
  )

  it.effect("dies where a user's client runs inside an operation that is cached for another caller", () =>
    Effect.gen(function* () {
      const { database, warehouse, workspace } = yield* Effect.all({
        database: Lakebase.user,
        warehouse: SqlWarehouse.user,
        workspace: WorkspaceClient.user
      }).pipe(as(alice))
      const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")
      const calls: Record<string, Effect.Effect<unknown, unknown>> = {
        "a query": warehouse.query(Who)`SELECT current_user AS who`,
        "a stream": Stream.runCollect(warehouse.stream(Who)`SELECT current_user AS who`),
        "a statement": database`SELECT current_user AS who`,
        "a stream of a statement": Stream.runCollect(database`SELECT current_user AS who`.stream),
        "a transaction": database.withTransaction(database`SELECT current_user AS who`),
        "a request": workspace.request(me),
        "a request that is sent": workspace.send(me)
      }
      for (const [what, call] of Object.entries(calls)) {
        assert.isTrue(yield* dies(asService(cached("shared")(call))), `${what} for the service principal`)
        assert.isTrue(yield* dies(as(bob)(cached("shared")(call))), `${what} for bob`)
        assert.isFalse(yield* dies(as(alice)(cached(what)(call))), `${what} for alice`)
      }
    })
  )

  it.effect("runs the service principal inside an operation cached for a user, and that user again inside it", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const both = Effect.all([
        asService(select),
        Effect.provide(select, asUser(request)),
        Effect.map(UserContext, (_) => _.userName)
      ])
      const [service, again, user] = yield* provideUser(cached("both")(both), request)
      assert.notStrictEqual(service[0]?.who, alice)
      assert.deepStrictEqual([again[0]?.who, user], [alice, alice])
    })
  )
})
