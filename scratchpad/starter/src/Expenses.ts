/** The expenses in Lakebase: `mine` and `add` run as the user, `totals` as the caller of the endpoint, which is the app. */
import { Context, Effect, Layer, Schema } from "effect"
import { SqlClient, SqlSchema } from "effect/sql"
import { Lakebase } from "effect-databricks"
import { Expense, NewExpense, Total } from "./Api.ts"

export class Expenses extends Context.Service<Expenses>()("expenses/Expenses", {
  make: Effect.gen(function* () {
    const lakebase = yield* Lakebase.Lakebase
    const sql = yield* SqlClient.SqlClient
    /** The client of the user in whose request this runs; it does not compile without one. */
    const user = Effect.provideService(Lakebase.user, Lakebase.Lakebase, lakebase)

    const mine = Effect.flatMap(user, (sql) =>
      SqlSchema.findAll({
        Request: Schema.Void,
        Result: Expense,
        execute: () => sql`
          SELECT id, category, description, cents, created_at AS "createdAt"
          FROM expenses.expenses ORDER BY id DESC LIMIT 50`
      })()
    )
    const add = (expense: typeof NewExpense.Type) =>
      Effect.flatMap(user, (sql) =>
        SqlSchema.findOne({
          Request: NewExpense,
          Result: Expense,
          execute: (expense) => sql`
            INSERT INTO expenses.expenses ${sql.insert(expense)}
            RETURNING id, category, description, cents, created_at AS "createdAt"`
        })(expense)
      ).pipe(Effect.catchTag("NoSuchElementError", Effect.die)) // RETURNING has the row that was inserted
    const totals = SqlSchema.findAll({
      Request: Schema.Void,
      Result: Total,
      execute: () => sql`
        SELECT category, count(DISTINCT owner)::int AS people, sum(cents)::int AS cents
        FROM expenses.expenses GROUP BY category ORDER BY cents DESC`
    })()
    return { mine, add, totals }
  })
}) {
  static readonly layer = Layer.effect(this, this.make)
}
