import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import {
  asService,
  Caller,
  DatabricksError,
  ExecutionContext,
  groupedByCaller,
  Lakebase,
  Middleware,
  Operation,
  OperationCache,
  provideUser,
  ServiceContext,
  SqlWarehouse,
  type UserContext,
  WorkspaceClient
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Exit, Layer, Request, RequestResolver, Schema, Stream } from "effect"
import { HttpClientRequest, HttpRouter, HttpServerResponse } from "effect/http"
import { SqlError } from "effect/sql"
import { lakebase } from "../fixtures/lakebaseClient.ts"
import { alice } from "../fixtures/people.ts"
import { serviceContext, seenThrough } from "../fixtures/workspace.ts"
import { serve, Served } from "../http/harness.ts"

/** All that an application has of one workspace; people and warehouses have the same ids in both. */
type Services =
  | LocalWorkspace.LocalWorkspace
  | ServiceContext.ServiceContext
  | WorkspaceClient.WorkspaceClient
  | SqlWarehouse.SqlWarehouse
  | Lakebase.Lakebase
  | PgClient.PgClient

const Application = Layer.merge(SqlWarehouse.layer, lakebase()).pipe(
  Layer.provideMerge(serviceContext()),
  Layer.provideMerge(LocalWorkspace.layer({ warehouses: [{ name: "one" }] }))
)

class Both extends Context.Service<
  Both,
  { readonly here: Context.Context<Services>; readonly there: Context.Context<Services> }
>()("test/Both") {
  static readonly layer = Layer.effect(
    Both,
    Effect.map(
      // Nothing of one is the other's, though they are of the same layers.
      Effect.all([Layer.build(Layer.fresh(Application)), Layer.build(Layer.fresh(Application))], { concurrency: 2 }),
      ([here, there]) => ({ here, there: there as Context.Context<Services> })
    )
  )
}

const Who = Schema.Struct({ who: Schema.String })
const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")

const sqlOf = <A, E, R>(f: (sql: PgClient.PgClient) => Effect.Effect<A, E, R>) => Effect.flatMap(PgClient.PgClient, f)
const clientOf = (f: (client: WorkspaceClient.WorkspaceClient["Service"]) => Effect.Effect<unknown, unknown>) =>
  Effect.flatMap(WorkspaceClient.WorkspaceClient, f)

/** Every way to a workspace, or to its database. */
const ways: Readonly<Record<string, Effect.Effect<unknown, unknown, Services | OperationCache.OperationCache>>> = {
  "WorkspaceClient.request": clientOf((client) => client.request(me)),
  "WorkspaceClient.requestJson": clientOf((client) => client.requestJson(me, Schema.Unknown)),
  "WorkspaceClient.use": clientOf((client) => client.use((sdk) => sdk.currentUser.me())),
  "WorkspaceClient.send": clientOf((client) => client.send(me)),
  "SqlWarehouse.query": SqlWarehouse.query(Who)`SELECT current_user AS who`,
  "SqlWarehouse.query with a cache": SqlWarehouse.query(Who, { cache: {} })`SELECT current_user AS who`,
  "SqlWarehouse.stream": Stream.runCollect(SqlWarehouse.stream(Who)`SELECT current_user AS who`),
  "a statement of SqlClient": sqlOf((sql) => sql`SELECT 1`),
  "a stream of SqlClient": sqlOf((sql) => Stream.runCollect(sql`SELECT 1`.stream)),
  "SqlClient.withTransaction": sqlOf((sql) => sql.withTransaction(Effect.void)),
  "SqlClient.reserve": sqlOf((sql) => Effect.scoped(sql.reserve)),
  "SqlClient.listen": sqlOf((sql) => Effect.scoped(sql.listen("news")))
}

/** The ways of a user's own clients. */
const waysOfUser: Readonly<
  Record<string, Effect.Effect<unknown, unknown, Services | UserContext | OperationCache.OperationCache>>
> = {
  "WorkspaceClient.user": Effect.flatMap(WorkspaceClient.user, (client) => client.request(me)),
  "SqlWarehouse.user": Effect.flatMap(SqlWarehouse.user, ({ query }) => query(Who)`SELECT current_user AS who`),
  "Lakebase.user": Effect.flatMap(Lakebase.user, (sql) => sql`SELECT 1`)
}

/** Runs as alice, whom the workspace `here` proves, with everything of the workspace `there`. */
const crossed = <A, E, R>(effect: Effect.Effect<A, E, R | Services | UserContext>) =>
  Effect.gen(function* () {
    const { here, there } = yield* Both
    const headers = yield* Context.get(here, LocalWorkspace.LocalWorkspace).headers(alice)
    return yield* Effect.provide(effect, there).pipe(provideUser(headers), Effect.provide(here))
  })

/** What reached the workspace `there` while an effect ran. */
const reached = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { there } = yield* Both
    const { requests } = Context.get(there, LocalWorkspace.LocalWorkspace)
    const { stats } = Context.get(there, Lakebase.Lakebase)
    const before = [(yield* requests).length, yield* stats] as const
    const result = yield* effect
    return [result, (yield* requests).slice(before[0]).map(({ path }) => path), [before[1], yield* stats]] as const
  })

const mismatchOf = (error: unknown) => {
  const cause = SqlError.isSqlError(error) ? error.reason.cause : error
  return cause instanceof DatabricksError.DatabricksError ? cause.reason : undefined
}

const ids = Effect.map(Both, ({ here, there }) =>
  [here, there].map((_) => Context.get(_, ServiceContext.ServiceContext).workspaceId)
)

class Kept extends Context.Service<Kept, WorkspaceClient.WorkspaceClient["Service"]>()("test/Kept") {}

interface WhoAmI extends Request.Request<string> {
  readonly _tag: "WhoAmI"
  readonly id: number
}
const WhoAmI = Request.tagged<WhoAmI>("WhoAmI")

layer(Both.layer.pipe(Layer.provideMerge(OperationCache.layer())), {
  timeout: "60 seconds",
  excludeTestServices: true
})("A caller of one workspace", (it) => {
  for (const [name, way] of [...Object.entries(ways), ...Object.entries(waysOfUser)]) {
    it.effect(`reaches their own workspace, and sends nothing to another, by ${name}`, () =>
      Effect.gen(function* () {
        const { here } = yield* Both
        const headers = yield* Context.get(here, LocalWorkspace.LocalWorkspace).headers(alice)
        yield* way.pipe(provideUser(headers), Effect.provide(here))
        const [error, paths, [before, after]] = yield* reached(Effect.flip(crossed(way)))
        const [from, to] = yield* ids
        const reason = mismatchOf(error)
        assert.strictEqual(reason?._tag, "WorkspaceMismatchError", String(error))
        assert.include(
          reason?.message,
          `workspace ${from} identified the caller, and this client reaches workspace ${to}`
        )
        assert.isFalse(reason?.isRetryable)
        assert.deepStrictEqual(paths, [])
        assert.deepStrictEqual(after, before)
      })
    )
  }

  it.effect("is the service principal of the other workspace asService", () =>
    Effect.gen(function* () {
      const { there } = yield* Both
      const { servicePrincipal } = Context.get(there, LocalWorkspace.LocalWorkspace)
      for (const way of Object.values(ways)) yield* crossed(asService(way))
      const seen = yield* crossed(asService(Effect.flatMap(WorkspaceClient.WorkspaceClient, seenThrough)))
      assert.strictEqual(seen, "service")
      const [row] = yield* crossed(asService(sqlOf((sql) => sql<{ who: string }>`SELECT current_user AS who`)))
      assert.strictEqual(row!.who, servicePrincipal.clientId)
    })
  )

  it.effect("shares no key with the same SCIM id in another, and no cached answer", () =>
    Effect.gen(function* () {
      const { here, there } = yield* Both
      let runs = 0
      const run = Operation.execute(
        Effect.sync(() => ++runs),
        { name: "run", cache: { key: [] } }
      )
      const callers: Array<Caller.Caller> = []
      for (const services of [here, there]) {
        const headers = yield* Context.get(services, LocalWorkspace.LocalWorkspace).headers(alice)
        const both = Effect.all([ExecutionContext.current, run, asService(Effect.all([ExecutionContext.current, run]))])
        const [user, , [service]] = yield* both.pipe(provideUser(headers), Effect.provide(services))
        callers.push(user, service)
      }
      assert.strictEqual(callers[0]!.scimId, callers[2]!.scimId)
      assert.strictEqual(callers[1]!.scimId, callers[3]!.scimId)
      assert.strictEqual(new Set(callers.map(Caller.key)).size, 4)
      for (const caller of callers) assert.match(Caller.key(caller), new RegExp(`^${caller.workspaceId}:`))
      assert.strictEqual(runs, 4)
    })
  )

  it.effect("joins no batch of another's service principal under groupedByCaller", () =>
    Effect.gen(function* () {
      const { here, there } = yield* Both
      const resolver = groupedByCaller(
        RequestResolver.make<WhoAmI>((entries) =>
          Effect.sync(() => {
            const { workspaceId } = Context.getUnsafe(entries[0].context, ServiceContext.ServiceContext)
            for (const entry of entries) entry.completeUnsafe(Exit.succeed(workspaceId))
          })
        )
      )
      const seen = yield* Effect.forEach(
        [here, there, here, there],
        (services, id) => Effect.provide(Effect.request(WhoAmI({ id }), resolver), services),
        { concurrency: "unbounded" }
      )
      const [from, to] = yield* ids
      assert.deepStrictEqual(seen, [from, to, from, to])
    })
  )

  it.effect("gets no token from another for a Lakebase that was built with its client", () =>
    Effect.gen(function* () {
      const { here, there } = yield* Both
      const mixed = Context.add(
        here,
        WorkspaceClient.WorkspaceClient,
        Context.get(there, WorkspaceClient.WorkspaceClient)
      )
      const { postgres } = Context.get(there, LocalWorkspace.LocalWorkspace)
      const options = { ...postgres, endpoint: "projects/local/branches/production/endpoints/primary", ssl: false }
      const headers = yield* Context.get(here, LocalWorkspace.LocalWorkspace).headers(alice)
      const query = sqlOf((sql) => sql`SELECT 1`).pipe(
        Effect.provide(Lakebase.layer(options), { local: true }),
        Effect.provide(mixed)
      )
      for (const way of [query, query.pipe(provideUser(headers), Effect.provide(here))]) {
        const [error, paths] = yield* reached(Effect.flip(way))
        assert.strictEqual(mismatchOf(error)?._tag, "WorkspaceMismatchError")
        assert.deepStrictEqual(paths, [])
      }
    })
  )
})

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })(
  "A route under Middleware.asUser",
  (it) => {
    const Other = Layer.effect(
      Kept,
      Effect.map(
        Layer.build(Layer.fresh(serviceContext().pipe(Layer.provideMerge(LocalWorkspace.layer())))),
        (services) => Context.get(services, WorkspaceClient.WorkspaceClient)
      )
    )
    const Route = HttpRouter.add(
      "GET",
      "/other",
      Effect.flatMap(Kept, (client) => Effect.as(client.request(me), HttpServerResponse.text("sent")))
    ).pipe(Layer.provide(Middleware.asUser.layer), Layer.provide(Middleware.layerFailures))

    it.layer(serve(Route, { services: Other }))((it) => {
      it.effect("answers a masked 500 where it uses another workspace's client, and logs both workspaces", () =>
        Effect.gen(function* () {
          const { call, logs } = yield* Served
          const { headers, workspaceId } = yield* LocalWorkspace.LocalWorkspace
          const { json, status } = yield* call("GET", "/other", { headers: yield* headers(alice) })
          assert.deepStrictEqual([status, json], [500, { _tag: "WorkspaceMismatchError", message: "Server error" }])
          const said = logs.find(({ level }) => level === "Error")?.text
          assert.match(
            said ?? "",
            new RegExp(`workspace ${workspaceId} identified the caller, and this client reaches \\w+ \\d+`)
          )
        })
      )
    })
  }
)
