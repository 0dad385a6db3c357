import { getWorkspaceClient, Lakebase, Operation, ServerSentEvents, SqlWarehouse, UserContext } from "effect-databricks"
import { Effect, Schedule, Schema, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { SqlClient } from "effect/sql"
import { Api, heartbeat, type NewOrder, type Orders, rowsOfExport, Seen, ticksOfWatch, timeout } from "./Api.ts"

const retry = { attempts: 3, delay: "100 millis" } as const

/** Reads are retried, writes never. */
const reading = { totalTimeout: timeout, retry } as const
const writing = { totalTimeout: timeout } as const

type NewOrder = typeof NewOrder.Type

const seen = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<typeof Seen.Type>`SELECT current_user AS caller`, ([row]) => row!)

const orders = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<typeof Orders.Type>`
      SELECT current_user AS caller, count(*)::int AS total,
        (SELECT coalesce(json_agg(json_build_object('owner', owner, 'key', key)), '[]')
          FROM (SELECT owner, key FROM desk.orders ORDER BY id DESC LIMIT 20) AS last) AS last
      FROM desk.orders`,
    ([row]) => row!
  )

const insert = (sql: SqlClient.SqlClient, { key, pause }: NewOrder, part = 1) =>
  Effect.map(
    sql<typeof Seen.Type>`
      INSERT INTO desk.orders (key, part) SELECT ${key}, ${part}::int FROM pg_sleep(${pause})
      RETURNING owner AS caller`,
    ([row]) => row!
  )

const asUser = <A, E, R>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>) => Effect.flatMap(Lakebase.user, f)

const ByWarehouse = Schema.Struct({ caller: Schema.String, total: Schema.Int })

const inTime = <A, E, R>(stream: Stream.Stream<A, E, R>, operation: string) =>
  Stream.timeoutOrElse(stream, {
    duration: timeout,
    orElse: () =>
      Stream.fail(new Operation.OperationTimeoutError({ operation, message: `${operation} was silent for too long` }))
  })

/** One statement, whose connection the stream holds. */
const exported = Stream.unwrap(
  Effect.map(
    Lakebase.user,
    (sql) =>
      sql<typeof Seen.Type>`
        SELECT current_user AS caller, pg_sleep(0.005)::text AS pause FROM generate_series(1, ${rowsOfExport}::int)`
        .stream
  )
)

/** A statement each time. */
const watched = Stream.fromEffectSchedule(
  Operation.execute(asUser(seen), { name: "orders.watch", ...reading }),
  Schedule.spaced("200 millis")
).pipe(Stream.take(ticksOfWatch))

const User = HttpApiBuilder.group(Api, "user", (handlers) =>
  handlers
    .handle("me", () =>
      Effect.gen(function* () {
        const client = yield* getWorkspaceClient
        const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")
        const { userName } = yield* client.requestJson(me, Schema.Struct({ userName: Schema.String }), reading)
        return { caller: userName }
      })
    )
    .handle("mine", () => Operation.execute(asUser(orders), { name: "orders.mine", ...reading }))
    .handle("query", () =>
      SqlWarehouse.query(ByWarehouse)`
        SELECT current_user AS caller, count(*)::int AS total FROM desk.orders`.pipe(
        Effect.map(([row]) => ({ ...row!, last: [] }))
      )
    )
    .handle("cached", () =>
      Operation.execute(asUser(seen), {
        name: "orders.cached",
        ...reading,
        cache: { key: [], timeToLive: "2 seconds" }
      })
    )
    .handle("export", () =>
      inTime(exported, "orders.export").pipe(ServerSentEvents.toResponse({ schema: Seen, event: "row", heartbeat }))
    )
    .handle("watch", () =>
      inTime(watched, "orders.watch").pipe(ServerSentEvents.toResponse({ schema: Seen, event: "tick", heartbeat }))
    )
    .handle("clock", () =>
      Effect.flatMap(UserContext, ({ userName: caller }) =>
        Stream.tick("1 second").pipe(
          Stream.map(() => ({ caller })),
          ServerSentEvents.toResponse({ schema: Seen, event: "tick", heartbeat })
        )
      )
    )
    .handle("add", ({ payload }) =>
      Operation.execute(
        asUser((sql) => insert(sql, payload)),
        { name: "orders.add", ...writing }
      )
    )
    .handle("addBoth", ({ payload }) =>
      Operation.execute(
        asUser((sql) => sql.withTransaction(Effect.andThen(insert(sql, payload, 1), insert(sql, payload, 2)))),
        { name: "orders.addBoth", ...writing }
      )
    )
    .handle("addByWarehouse", ({ payload: { key, pause } }) =>
      // Only a refused start is retried.
      SqlWarehouse.query(Seen)`
        INSERT INTO desk.orders (key) SELECT ${key} FROM pg_sleep(${pause}) RETURNING owner AS caller`.pipe(
        Effect.map(([row]) => row!)
      )
    )
)

const System = HttpApiBuilder.group(Api, "system", (handlers) =>
  handlers.handle("total", () =>
    Operation.execute(Effect.flatMap(SqlClient.SqlClient, orders), { name: "orders.total", ...reading })
  )
)

export const defaults = reading

export const handlers = [User, System] as const
