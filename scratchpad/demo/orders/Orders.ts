/** The orders desk: one table, in which users see their own rows and the application sees all of them. */
import { Lakebase } from "effect-databricks"
import { Context, Effect, Layer, Path } from "effect"
import { SqlClient } from "effect/sql"
import type { NewOrder, Order } from "./Api.ts"

const migrate = Effect.flatMap(Path.Path, ({ fromFileUrl }) =>
  Effect.flatMap(fromFileUrl(new URL("migrations", import.meta.url)), (directory) =>
    Lakebase.migrate({ schema: "desk", directory })
  )
)

const last = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<typeof Order.Type>`
      SELECT id, owner, item, amount, created_at AS "createdAt" FROM desk.orders ORDER BY id DESC LIMIT 50`,
    (rows) => rows.map(toOrder)
  )

// An id may exceed the safe integers of JSON.
const toOrder = (row: typeof Order.Type): typeof Order.Type => ({ ...row, id: String(row.id) })

export class Orders extends Context.Service<Orders>()("demo/Orders", {
  make: Effect.gen(function* () {
    yield* migrate
    const lakebase = yield* Lakebase.Lakebase
    const sql = yield* SqlClient.SqlClient
    // Neither of these compiles without a user.
    const user = Effect.provideService(Lakebase.user, Lakebase.Lakebase, lakebase)
    return {
      mine: Effect.flatMap(user, last),
      add: ({ amount, item }: typeof NewOrder.Type) =>
        Effect.flatMap(
          user,
          (sql) => sql<typeof Order.Type>`
            INSERT INTO desk.orders (item, amount) VALUES (${item}, ${amount})
            RETURNING id, owner, item, amount, created_at AS "createdAt"`
        ).pipe(Effect.map(([row]) => toOrder(row!))),
      all: last(sql)
    }
  })
}) {
  static readonly layer = Layer.effect(this, this.make)
}
