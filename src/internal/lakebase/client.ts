/** One `PgClient` for all callers: statements, streams, transactions and listeners use the caller's own connections. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, type Fiber, type Tracer } from "effect"
import type { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlConnection, SqlError, Statement } from "effect/sql"
import type * as Caller from "../../Caller.ts"
import { callerIn, refused } from "../../ExecutionContext.ts"
import { ownerIn } from "../owner.ts"
import { executeAs, executeStreamAs } from "../operation/span.ts"
import { elsewhere } from "../workspace/bound.ts"
import * as Failure from "./failure.ts"
import * as Key from "./key.ts"
import * as Metrics from "./metrics.ts"
import type { Session, Target } from "./driver/session.ts"
import * as Deadlocks from "./deadlocks.ts"
import { heldBy, holding, keep, kept, Opening } from "./held.ts"
import * as Reserved from "./reserved.ts"
import { type Route, Routed, type Way } from "./routed.ts"
import { mistakeIn } from "./rows.ts"
import type { Sessions } from "./sessions.ts"

interface Transaction {
  readonly session: Session
  readonly afterCommit: Array<Effect.Effect<void>>
  /** Whether it has ended. A fiber may outlive its transaction, whose session is then another caller's. */
  ended: boolean
}

/**
 * The transactions of the fiber, by database and caller: `asUser` leaves the service's transaction until it returns.
 */
const Transactions = Context.Reference<ReadonlyMap<string, Transaction>>("effect-databricks/Lakebase/Transactions", {
  defaultValue: () => new Map()
})

const compiler = PgClient.makeCompiler()

/** Effect's compiler, with the parameter that its interface leaves out. */
const compile: (
  statement: Statement.Fragment,
  withoutTransform: boolean,
  placeholder: () => string
) => ReturnType<Statement.Compiler["compile"]> = compiler.compile.bind(compiler)

/**
 * Compiles a statement that runs once. Given the placeholders, Effect's compiler does not put it in its WeakMap, whose
 * entries make a collection of the heap take longer.
 */
const compileOnce = (statement: Statement.Fragment) => {
  let count = 0
  return compile(statement, false, () => `$${++count}`)
}

/**
 * Makes clients, for any caller or for `owner` only. They inherit their shared parts, so that a client costs little.
 */
export const make = Effect.fnUntraced(function* (
  sessions: Sessions,
  { host, port, database, ssl, applicationName }: Target,
  principal: Caller.Caller
): Effect.fn.Return<(owner?: Caller.Caller) => PgClient.PgClient, never, Reactivity.Reactivity> {
  const attributes = {
    "db.system.name": "postgresql",
    "db.namespace": database,
    "server.address": host,
    "server.port": port
  }
  const spanAttributes = Object.entries(attributes)
  const query = { name: "lakebase.query", kind: "client", attributes } as const
  const shared = Object.assign(
    // Its own statements never run; clients replace the connections.
    yield* SqlClient.make({ acquirer: Effect.never, compiler, driver: "@effect/sql-pg", spanAttributes }),
    {
      [PgClient.TypeId]: PgClient.TypeId,
      config: { host, port, database, ssl, applicationName },
      json: (value: unknown) => Statement.fragment([PgJson(value)])
    }
  )

  // Includes the driver's number of the database, because another database has other transactions.
  const keyOf = (caller: Caller.Caller) => `${shared.transactionService.key} ${Key.keyOf(caller)}`

  const transactionOf = (fiber: Fiber.Fiber<unknown, unknown>, caller: Caller.Caller) => {
    const transactions = fiber.getRef(Transactions)
    return transactions.size === 0 ? undefined : transactions.get(keyOf(caller))
  }

  return (owner) => {
    /** Returns the caller of a statement in this context, or the defect of a caller that may not run there. */
    const callerOf = (context: Context.Context<never>) => {
      if (owner === undefined) {
        const caller = callerIn(context, principal)
        return refused(context, caller) ?? elsewhere(caller, principal) ?? caller
      }
      const caller = ownerIn(context, owner)
      return Effect.isEffect(caller) ? caller : (elsewhere(caller, principal) ?? caller)
    }

    /** Looks up the caller, and the transaction if there is one, when the effect runs. */
    const located = <A, E, R>(
      f: (
        caller: Caller.Caller,
        transaction: Transaction | undefined,
        fiber: Fiber.Fiber<unknown, unknown>
      ) => Effect.Effect<A, E, R>
    ) =>
      Effect.withFiber<A, E | SqlError.SqlError, R>((fiber) => {
        const caller = callerOf(fiber.context)
        if (Effect.isEffect(caller)) return Effect.mapError(caller, Failure.failed(SqlError.UnknownError))
        const transaction = transactionOf(fiber, caller)
        return transaction?.ended ? Effect.fail(ended) : f(caller, transaction, fiber)
      })

    const session = located((caller, _, fiber) => {
      const hold = fiber.getRef(Opening) ?? Deadlocks.make()
      return Effect.tap(sessions.lease(caller, heldBy(fiber), hold), keep(hold))
    })
    const acquirer: SqlConnection.Acquirer = located((_, transaction) =>
      transaction === undefined
        ? Effect.map(session, (_) => _.connection)
        : Effect.succeed(transaction.session.connection)
    )
    const borrower: SqlConnection.Borrower = (f) =>
      located((caller, transaction, fiber) =>
        transaction === undefined
          ? sessions.use(caller, heldBy(fiber), (_) => f(_.connection))
          : f(transaction.session.connection)
      )

    /** Runs a statement in the span of its operation. */
    const direct = <A>(
      statement: Statement.Statement<unknown>,
      way: Way<A>,
      caller: Caller.Caller,
      within: ReadonlyArray<Deadlocks.Hold>,
      span: Tracer.Span,
      elapsed: () => number
    ) => {
      const [text, params] = compileOnce(statement)
      span.attribute("db.query.text", text)
      return sessions.use(caller, within, ({ connection }) => {
        span.attribute("db.client.connection.wait_time_ms", elapsed())
        return way.on(connection, text, params)
      })
    }

    const route: Route = {
      query: (statement, way) =>
        located((caller, transaction, fiber) => {
          const wrong = mistakeIn(statement.segments)
          const run = (span?: Tracer.Span) =>
            Metrics.timed(
              (elapsed) =>
                wrong !== undefined
                  ? Effect.fail(wrong)
                  : // A transformer gets a span of the statement's own.
                    span === undefined || fiber.getRef(Statement.CurrentTransformer) !== undefined
                    ? way.inSpan(statement)
                    : direct(statement, way, caller, heldBy(fiber), span, elapsed),
              Metrics.queryDuration,
              caller.context
            )
          // Statements in a transaction are part of the transaction's operation.
          return transaction === undefined ? executeAs(run, caller, query) : run()
        }),
      stream: (stream) =>
        kept(
          located((caller, transaction, { context }) =>
            Effect.succeed(
              transaction === undefined ? executeStreamAs(stream, caller, context, { name: "lakebase.stream" }) : stream
            )
          )
        )
    }

    const withTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
      located((caller, outer, fiber) => {
        if (outer !== undefined) return outer.session.transactions.withTransaction(effect)
        const hold = Deadlocks.make()
        const afterCommit: Transaction["afterCommit"] = []
        return sessions
          .keep(caller, heldBy(fiber), hold, (session) => {
            const transaction: Transaction = { session, afterCommit, ended: false }
            const transactions = new Map(fiber.getRef(Transactions)).set(keyOf(caller), transaction)
            return Effect.updateContext(effect, (context: Context.Context<R>) =>
              Context.add(holding(context, fiber, hold), Transactions, transactions)
            ).pipe(
              session.transactions.withTransaction,
              Effect.ensuring(
                Effect.sync(() => {
                  transaction.ended = true
                })
              )
            )
          })
          .pipe(
            // Runs after the connection is released, because afterCommit effects may need it.
            Effect.ensuring(Effect.suspend(() => Effect.forEach(afterCommit, shared.afterCommit, { discard: true }))),
            (_) => executeAs(() => _, caller, { name: "lakebase.transaction" })
          )
      })

    const afterCommit = <R>(effect: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> =>
      Effect.withFiber((fiber) => {
        const caller = callerOf(fiber.context)
        if (Effect.isEffect(caller)) return Effect.orDie(caller) // an afterCommit effect cannot fail
        const transaction = transactionOf(fiber, caller)
        if (transaction === undefined) return shared.afterCommit(effect)
        const held = new Map(fiber.getRef(Transactions))
        held.delete(keyOf(caller))
        // The driver discards the effects of a savepoint that is rolled back, and sets the context of the others.
        return transaction.session.transactions.afterCommit(
          Effect.contextWith((context: Context.Context<R>) =>
            Effect.sync(() => {
              transaction.afterCommit.push(Effect.provideContext(effect, Context.add(context, Transactions, held)))
            })
          )
        )
      })

    function sql<A extends object>(strings: TemplateStringsArray, ...values: Array<unknown>): Statement.Statement<A>
    function sql(identifier: string): Statement.Identifier
    function sql(
      first: TemplateStringsArray | string,
      ...values: Array<unknown>
    ): Statement.Identifier | Statement.Statement<SqlConnection.Row> {
      if (typeof first === "string") return Statement.identifier(first)
      return new Routed(
        Statement.statement(acquirer, compiler, first, values, spanAttributes, undefined, borrower),
        route
      )
    }
    // setPrototypeOf returns any.
    const client: PgClient.PgClient = Object.assign(Object.setPrototypeOf(sql, shared) as typeof sql & typeof shared, {
      unsafe: <A extends object>(text: string, parameters?: ReadonlyArray<unknown>) =>
        sql<A>`${Statement.literal(text, parameters)}`,
      // A separate connection, also within a transaction, like the driver's.
      reserve: located((caller) => Effect.flatMap(session, (_) => Reserved.make(_.connection, caller))),
      withTransaction,
      afterCommit,
      withoutTransforms: () => client,
      listen: (channel: string) => Effect.flatMap(session, (_) => _.listen(channel)),
      notify: (channel: string, payload: string) => Effect.asVoid(sql`SELECT pg_notify(${channel}, ${payload})`),
      // Refers to the client itself, whose type is only known on the next line.
      safe: sql as never
    })
    return client
  }
})

// The compiler of statements recognizes it by its kind.
const PgJson = Statement.custom<PgClient.PgCustom>("PgJson")

const ended = new SqlError.SqlError({
  reason: new SqlError.UnknownError({
    cause: new Error("The fiber has outlived its transaction"),
    message: "The transaction that this fiber was forked in has ended: join the fiber before, or fork it outside",
    operation: "execute"
  })
})
