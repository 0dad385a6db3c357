/** The orders desk: one table, in which everybody sees their own rows and the application all of them. */
import { Lakebase } from "effect-databricks"
import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { NewOrder, Order } from "./Api.ts"

// Whoever creates the schema owns it, and in Lakebase the owner alone can alter and grant: this runs as the service
// principal. Postgres does not hold an owner to the policies of a table, hence the application sees every row.
// The owner has the collation of current_user: with another, the policy reads the whole table and not the index.
const script = [
  "CREATE SCHEMA IF NOT EXISTS desk",
  `CREATE TABLE IF NOT EXISTS desk.orders (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     owner text COLLATE "C" NOT NULL DEFAULT current_user,
     item text NOT NULL CHECK (length(item) BETWEEN 1 AND 200),
     amount integer NOT NULL CHECK (amount > 0),
     created_at timestamptz NOT NULL DEFAULT now()
   )`,
  "CREATE INDEX IF NOT EXISTS orders_of_owner ON desk.orders (owner, id)",
  "ALTER TABLE desk.orders ENABLE ROW LEVEL SECURITY",
  "DROP POLICY IF EXISTS own ON desk.orders",
  "CREATE POLICY own ON desk.orders USING (owner = current_user) WITH CHECK (owner = current_user)",
  "GRANT USAGE ON SCHEMA desk TO PUBLIC",
  // Not of the owner, which nobody is to choose.
  "GRANT SELECT, INSERT (item, amount) ON desk.orders TO PUBLIC"
]

/** Makes what is missing, in one transaction: nobody ever meets the table without its policy. */
const prepare = (sql: SqlClient.SqlClient) =>
  sql.withTransaction(
    Effect.gen(function* () {
      // Two instances may start at the same time.
      yield* sql`SELECT pg_advisory_xact_lock(hashtext('desk'))`
      for (const statement of script) yield* sql.unsafe(statement)
    })
  )

const last = (sql: SqlClient.SqlClient) =>
  Effect.map(
    sql<typeof Order.Type>`
      SELECT id, owner, item, amount, created_at AS "createdAt" FROM desk.orders ORDER BY id DESC LIMIT 50`,
    (rows) => rows.map(toOrder)
  )

// An id may be larger than the numbers of JSON.
const toOrder = (row: typeof Order.Type): typeof Order.Type => ({ ...row, id: String(row.id) })

export class Orders extends Context.Service<Orders>()("demo/Orders", {
  make: Effect.gen(function* () {
    const lakebase = yield* Lakebase.Lakebase
    const sql = yield* SqlClient.SqlClient
    yield* prepare(sql)
    // Neither of these compiles where there is no user.
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
