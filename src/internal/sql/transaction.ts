/** Finds the database transactions of a fiber, of any `SqlClient`, by the marks that they leave in the context. */
import { Context } from "effect"

/**
 * Effect's own mark, which it does not export: the key of the innermost transaction. A client removes that key from the
 * context when the transaction is over, and leaves the mark.
 */
const Innermost = Context.Reference<Context.Key<unknown, object> | undefined>("effect/sql/CurrentTransactionService", {
  defaultValue: () => undefined
})

/** Whether a transaction is open in this context, whose uncommitted rows other calls do not see. */
export const isIn = (context: Context.Context<never>): boolean => {
  const innermost = Context.get(context, Innermost)
  return innermost !== undefined && [...context.mapUnsafe.keys()].some((key) => isOf(key, innermost))
}

/**
 * Returns the context without its transactions, and without Lakebase's record of the connections that the fiber holds.
 */
export const without = <R>(context: Context.Context<R>): Context.Context<R> => {
  const services = new Map(context.mapUnsafe)
  const innermost = Context.get(context, Innermost)
  for (const key of services.keys()) {
    if (key === Innermost.key || key.startsWith("effect-databricks/Lakebase/") || isOf(key, innermost)) {
      services.delete(key)
    }
  }
  return Context.makeUnsafe(services)
}

// Outer transactions too, which other clients may have opened.
const isOf = (key: string, innermost: Context.Key<unknown, object> | undefined) =>
  key === innermost?.key || key.startsWith("effect/sql/SqlClient/TransactionConnection/")
