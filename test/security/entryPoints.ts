/** Every way into the workspace and into Postgres; each says whom the other side saw. */
import { PgClient } from "@effect/sql-pg"
import {
  asService,
  ExecutionContext,
  getWorkspaceClient,
  groupedByCaller,
  Lakebase,
  Operation,
  type OperationCache,
  type ServiceContext,
  SqlWarehouse,
  type WorkspaceClient
} from "effect-databricks"
import type { LocalWorkspace } from "effect-databricks/testing"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberSet,
  Layer,
  ManagedRuntime,
  Queue,
  RcMap,
  Request,
  RequestResolver,
  Schema,
  type Scope,
  Stream
} from "effect"
import { HttpClientRequest } from "effect/http"
import type { SqlClient } from "effect/sql"
import { Caller } from "../fixtures/sqlWarehouse.ts"
import { both, database, databaseThrough, nameOf, type People, sending, wireThrough, within } from "./situations.ts"

export type Services =
  | LocalWorkspace.LocalWorkspace
  | ServiceContext.ServiceContext
  | WorkspaceClient.WorkspaceClient
  | Lakebase.Lakebase
  | PgClient.PgClient
  | SqlClient.SqlClient
  | SqlWarehouse.SqlWarehouse
  | OperationCache.OperationCache
  | People

type Seen = Effect.Effect<ReadonlyArray<string>, unknown, Services | Kept | Scope.Scope>

/** What an application takes at start-up and keeps. */
export class Kept extends Context.Service<
  Kept,
  {
    readonly client: WorkspaceClient.WorkspaceClient["Service"]
    readonly sql: PgClient.PgClient
    readonly context: Context.Context<Services>
    readonly jobs: Queue.Queue<Effect.Effect<unknown>>
    readonly fibers: FiberSet.FiberSet<ReadonlyArray<string>, unknown>
    readonly fork: (
      effect: Effect.Effect<ReadonlyArray<string>, unknown>
    ) => Fiber.Fiber<ReadonlyArray<string>, unknown>
    /** Builds what reads its context the first time that somebody asks for it. */
    readonly lazily: RcMap.RcMap<string, Seen>
    readonly batched: RequestResolver.RequestResolver<WhoAmI>
  }
>()("test/Kept") {
  static readonly layer = Layer.effect(
    Kept,
    Effect.gen(function* () {
      const context = yield* Effect.context<Services>()
      const jobs = yield* Queue.unbounded<Effect.Effect<unknown>>()
      yield* Effect.forkScoped(Effect.forever(Effect.flatten(Queue.take(jobs))))
      const fibers = yield* FiberSet.make<ReadonlyArray<string>, unknown>()
      const build = Effect.map(Effect.context<Services>(), (built): Seen => Effect.provide(both, built))
      return {
        client: yield* getWorkspaceClient,
        sql: yield* PgClient.PgClient,
        context,
        jobs,
        fibers,
        fork: yield* FiberSet.runtime(fibers)<never>(),
        lazily: yield* RcMap.make({ lookup: (_name: string) => asService(build), idleTimeToLive: "1 minute" }),
        batched: groupedByCaller(
          RequestResolver.make<WhoAmI>((entries) =>
            Effect.flatMap(Effect.exit(Effect.provide(both, entries[0].context)), (exit) =>
              Effect.forEach(entries, (entry) => Effect.sync(() => entry.completeUnsafe(Exit.mapError(exit, String))))
            )
          )
        )
      }
    })
  )
}

interface WhoAmI extends Request.Request<ReadonlyArray<string>, string, Services> {
  readonly _tag: "WhoAmI"
  readonly id: number
}
const WhoAmI = Request.tagged<WhoAmI>("WhoAmI")

/** A layer of an application that is built in the midst of a call. */
class Late extends Context.Service<Late, { readonly seen: Seen }>()("test/Late") {
  static readonly layer = Layer.effect(
    Late,
    Effect.all([getWorkspaceClient, PgClient.PgClient]).pipe(
      Effect.map(([client, sql]) => ({ seen: Effect.all([wireThrough(client), databaseThrough(sql)]) }))
    )
  )
}

const one = <E, R>(seen: Effect.Effect<string, E, R>) => Effect.map(seen, (name) => [name])
const kept = (f: (kept: Kept["Service"]) => Seen): Seen => Effect.flatMap(Kept, f)
const onSql = (f: (sql: PgClient.PgClient) => Seen) => kept(({ sql }) => f(sql))

let channels = 0
let builds = 0

const listening = (sql: PgClient.PgClient) =>
  Effect.gen(function* () {
    const channel = `probe_${++channels}`
    const heard = yield* sql.listen(channel)
    // The server's own list says who listens, and it knows who spoke.
    const [listener] = yield* asService(
      sql<{ who: string }>`SELECT usename AS who FROM pg_stat_activity WHERE query ILIKE ${`LISTEN%${channel}%`}
        AND pid <> pg_backend_pid()`
    )
    yield* sql.notify(channel, "x")
    const { processId } = yield* Queue.take(heard)
    const [speaker] = yield* sql<{ who: string }>`SELECT usename AS who FROM pg_stat_activity WHERE pid = ${processId}`
    return [nameOf(listener?.who), nameOf(speaker?.who)]
  })

const inTransaction = (sql: PgClient.PgClient) =>
  Effect.gen(function* () {
    const done = yield* Deferred.make<ReadonlyArray<string>, unknown>()
    const within = sql.withTransaction(
      Effect.tap(Effect.all([databaseThrough(sql), sql.withTransaction(databaseThrough(sql))]), () =>
        sql.afterCommit(Effect.asVoid(Deferred.complete(done, both)))
      )
    )
    return [...(yield* within), ...(yield* Deferred.await(done))]
  })

const throughRuntime = Effect.fnUntraced(function* (root: boolean) {
  const context = yield* Effect.context<Services>()
  if (!root) return yield* Effect.promise(() => Effect.runPromiseWith(context)(both))
  const runtime = ManagedRuntime.make(Layer.succeedContext((yield* Kept).context))
  return yield* Effect.ensuring(
    Effect.promise(() => runtime.runPromise(both)),
    runtime.disposeEffect
  )
})

/** They run as whoever runs. */
export const ofCaller: Readonly<Record<string, Seen>> = {
  "SqlWarehouse.query": one(
    Effect.map(SqlWarehouse.query(Caller)`SELECT current_user AS caller`, ([row]) => nameOf(row?.caller))
  ),
  "WorkspaceClient.request": kept(({ client }) => one(wireThrough(client))),
  "WorkspaceClient.requestJson": kept(({ client }) =>
    one(sending("/api/2.0/probe/", (path) => client.requestJson(HttpClientRequest.get(path), Schema.Unknown)))
  ),
  "WorkspaceClient.use": kept(({ client }) =>
    one(
      sending("/api/2.0/sql/warehouses/probe-", (path) =>
        client.use((sdk) => sdk.warehouses.get({ id: path.split("/").at(-1)! }))
      )
    )
  ),
  "an effect under a start-up context": kept(({ context }) => Effect.provide(both, context)),
  "Operation.execute with a cache": Effect.suspend(() => {
    const cached = Operation.execute(both, { name: "who", cache: { key: [] } })
    return Effect.map(Effect.all([cached, cached]), (_) => _.flat())
  }),
  "Operation.executeStream": Stream.range(1, 2).pipe(
    Stream.rechunk(1),
    Stream.mapEffect(() => both),
    Operation.executeStream({ name: "who" }),
    Stream.runCollect,
    Effect.map((_) => _.flat())
  ),
  "a statement of SqlClient": onSql((sql) => one(databaseThrough(sql))),
  "a stream of SqlClient": onSql((sql) =>
    Effect.map(Stream.runCollect(sql<{ who: string }>`SELECT current_user AS who`.stream), (rows) =>
      rows.map(({ who }) => nameOf(who))
    )
  ),
  "a reactive query": onSql((sql) =>
    Effect.map(Stream.runCollect(Stream.take(sql.reactive(["who"], database), 1)), (_) => [..._])
  ),
  "a savepoint with an afterCommit hook": onSql(inTransaction),
  "a query inside bob's transaction": onSql((sql) =>
    Effect.flatMap(ExecutionContext.ExecutionContext, (caller) =>
      within(
        ["bob"],
        sql.withTransaction(
          Effect.updateContext(both, (context: Context.Context<Services>) =>
            ExecutionContext.runningAs(context, caller)
          )
        )
      )
    )
  ),
  "LISTEN and NOTIFY": onSql((sql) => Effect.scoped(listening(sql))),
  "SqlClient.reserve": onSql((sql) =>
    Effect.scoped(
      Effect.flatMap(sql.reserve, (connection) =>
        Effect.map(connection.executeValues("SELECT current_user", []), ([row]) => [nameOf(String(row?.[0]))])
      )
    )
  ),
  "Effect.forkChild": Effect.flatMap(Effect.forkChild(Effect.delay(both, 0)), Fiber.join),
  "Effect.forkDetach": Effect.flatMap(Effect.forkDetach(Effect.delay(both, 0)), Fiber.join),
  "FiberSet.run": kept(({ fibers }) =>
    Effect.flatMap(Effect.context<Services>(), (context) =>
      Effect.flatMap(FiberSet.run(fibers, Effect.provide(both, context)), Fiber.join)
    )
  ),
  "a job that brings its context": kept(({ jobs }) =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<ReadonlyArray<string>, unknown>()
      yield* Queue.offer(jobs, Deferred.complete(done, Effect.provide(both, yield* Effect.context<Services>())))
      return yield* Deferred.await(done)
    })
  ),
  "a resolver groupedByCaller": kept(({ batched }) =>
    Effect.map(
      Effect.forEach([1, 2], (id) => Effect.request(WhoAmI({ id }), batched), { concurrency: 2 }),
      (_) => _.flat()
    )
  ),
  "Effect.runPromiseWith": throughRuntime(false),
  "a layer built in the call": Effect.flatMap(Effect.provide(Late, Late.layer, { local: true }), ({ seen }) => seen),
  "a service that alice built first": kept(({ lazily }) => {
    const shared = RcMap.get(lazily, `shared ${++builds}`)
    return Effect.scoped(Effect.andThen(within(["alice"], shared), Effect.flatten(shared)))
  })
}

/** They run as the service principal, as the manual says. */
export const ofService: Readonly<Record<string, Seen>> = {
  "ManagedRuntime.runPromise": throughRuntime(true),
  "a job with a start-up context": kept(({ context, jobs }) =>
    Effect.gen(function* () {
      const done = yield* Deferred.make<ReadonlyArray<string>, unknown>()
      yield* Queue.offer(jobs, Deferred.complete(done, Effect.provide(both, context)))
      return yield* Deferred.await(done)
    })
  ),
  "a FiberSet runtime of start-up": kept(({ context, fork }) => Fiber.join(fork(Effect.provide(both, context))))
}

const mine = Effect.flatMap(Lakebase.user, (sql) => Effect.map(databaseThrough(sql), (name) => [name]))
const myTransaction = Effect.flatMap(Lakebase.user, (sql) =>
  Effect.map(sql.withTransaction(databaseThrough(sql)), (name) => [name])
)

/** They run as the user whose call it is in, also asService; nothing else compiles. */
export const ofUser = {
  "Lakebase.user": mine,
  "a transaction of Lakebase.user": myTransaction,
  "SqlWarehouse.user": one(
    Effect.flatMap(SqlWarehouse.user, (warehouse) =>
      Effect.map(warehouse.query(Caller)`SELECT current_user AS caller`, ([row]) => nameOf(row?.caller))
    )
  )
}
