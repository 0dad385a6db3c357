/** One `PgClient` for all callers: every statement, stream, transaction and listener goes to the caller's own connection. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Effectable, type Fiber, Stream } from "effect"
import type { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlConnection, SqlError, Statement } from "effect/sql"
import * as Caller from "../../Caller.ts"
import { callerIn, refused } from "../../ExecutionContext.ts"
import * as Operation from "../../Operation.ts"
import * as Failure from "./failure.ts"
import * as Metrics from "./metrics.ts"
import type { Session, Target } from "./driver/session.ts"
import type { Sessions } from "./sessions.ts"

interface Transaction {
  readonly session: Session
  readonly afterCommit: Array<Effect.Effect<void>>
  /** A fiber may outlive the transaction that it was forked in, and the session then serves somebody else. */
  ended: boolean
}

/** The transactions that the fiber is in, by database and caller: `asUser` leaves one, and coming back returns to it. */
const Transactions = Context.Reference<ReadonlyMap<string, Transaction>>("effect-databricks/Lakebase/Transactions", {
  defaultValue: () => new Map()
})

const compiler = PgClient.makeCompiler()

/** Makes clients, for whoever runs or for `fixed` alone. What is no caller's they inherit, so that one costs little. */
export const make = Effect.fnUntraced(function* (
  sessions: Sessions,
  { host, port, database, ssl, applicationName }: Target,
  principal: Caller.Caller
): Effect.fn.Return<(fixed?: Caller.Caller) => PgClient.PgClient, never, Reactivity.Reactivity> {
  const spanAttributes = [
    ["db.system.name", "postgresql"],
    ["db.namespace", database],
    ["server.address", host],
    ["server.port", port]
  ] as const
  const shared = Object.assign(
    // It has no connections: all that runs is a client's own.
    yield* SqlClient.make({ acquirer: Effect.never, compiler, driver: "@effect/sql-pg", spanAttributes }),
    {
      [PgClient.TypeId]: PgClient.TypeId,
      config: { host, port, database, ssl, applicationName },
      json: (value: unknown) => Statement.fragment([PgJson(value)])
    }
  )

  // What the driver numbers is this database's alone: another has transactions of its own.
  const keyOf = (caller: Caller.Caller) => `${shared.transactionService.key} ${Caller.key(caller)}`

  const transactionOf = (fiber: Fiber.Fiber<unknown, unknown>, caller: Caller.Caller) => {
    const transactions = fiber.getRef(Transactions)
    return transactions.size === 0 ? undefined : transactions.get(keyOf(caller))
  }

  return (fixed) => {
    const whose = ({ context }: Fiber.Fiber<unknown, unknown>) => fixed ?? callerIn(context, principal)

    /** Looks up, when an effect runs, whose it is, and their transaction if the fiber is in one. */
    const located = <A, E, R>(
      f: (
        caller: Caller.Caller,
        transaction: Transaction | undefined,
        fiber: Fiber.Fiber<unknown, unknown>
      ) => Effect.Effect<A, E, R>
    ) =>
      Effect.withFiber<A, E | SqlError.SqlError, R>((fiber) => {
        const caller = whose(fiber)
        const other = refused(fiber.context, caller)
        if (other !== undefined) return other
        const transaction = transactionOf(fiber, caller)
        return transaction?.ended ? Effect.fail(ended) : f(caller, transaction, fiber)
      })

    const session = located((caller, _, fiber) => sessions.lease(caller, depthOf(fiber)))
    const acquirer: SqlConnection.Acquirer = located((_, transaction) =>
      transaction === undefined
        ? Effect.map(session, (_) => _.connection)
        : Effect.succeed(transaction.session.connection)
    )
    const borrower: SqlConnection.Borrower = (f) =>
      located((caller, transaction, fiber) =>
        transaction === undefined
          ? sessions.use(caller, depthOf(fiber), (_) => f(_.connection))
          : f(transaction.session.connection)
      )

    // What runs in a transaction is part of that operation.
    const route: Route = {
      query: (effect) =>
        located((caller, transaction) => {
          const timed = Metrics.timed(Effect.mapError(effect, Failure.told), Metrics.queryDuration, caller.context)
          return transaction === undefined ? Operation.executeAs(timed, caller, { name: "lakebase.query" }) : timed
        }),
      stream: (stream) => {
        const told = Stream.mapError(stream, Failure.told)
        return Stream.unwrap(
          located((caller, transaction, { context }) =>
            Effect.succeed(
              transaction === undefined
                ? Operation.executeStreamAs(told, caller, context, { name: "lakebase.stream" })
                : told
            )
          )
        )
      }
    }

    const withTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
      located((caller, outer, fiber) => {
        if (outer !== undefined) return outer.session.transactions.withTransaction(effect)
        const afterCommit: Transaction["afterCommit"] = []
        return sessions
          .use(caller, depthOf(fiber), (session) => {
            const transaction: Transaction = { session, afterCommit, ended: false }
            return Effect.provideService(
              effect,
              Transactions,
              new Map(fiber.getRef(Transactions)).set(keyOf(caller), transaction)
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
            // Once the connection is given back, for they may need it.
            Effect.ensuring(Effect.suspend(() => Effect.forEach(afterCommit, shared.afterCommit, { discard: true }))),
            (_) => Operation.executeAs(_, caller, { name: "lakebase.transaction" })
          )
      })

    const afterCommit = <R>(effect: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> =>
      Effect.withFiber((fiber) => {
        const caller = whose(fiber)
        const transaction = transactionOf(fiber, caller)
        if (transaction === undefined) return shared.afterCommit(effect)
        const held = new Map(fiber.getRef(Transactions))
        held.delete(keyOf(caller))
        // The driver knows which of them a savepoint takes back, and in what context it is when there is no transaction.
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
    // setPrototypeOf gives any.
    const client: PgClient.PgClient = Object.assign(Object.setPrototypeOf(sql, shared) as typeof sql & typeof shared, {
      unsafe: <A extends object>(text: string, parameters?: ReadonlyArray<unknown>) =>
        sql<A>`${Statement.literal(text, parameters)}`,
      // Like the driver's, a connection apart, also from within a transaction.
      reserve: Effect.map(session, (_) => _.connection),
      withTransaction,
      afterCommit,
      withoutTransforms: () => client,
      listen: (channel: string) => Effect.flatMap(session, (_) => _.listen(channel)),
      notify: (channel: string, payload: string) => Effect.asVoid(sql`SELECT pg_notify(${channel}, ${payload})`),
      // Itself: the type is known on the next line only.
      safe: sql as never
    })
    return client
  }
})

const depthOf = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.getRef(Transactions).size

// The compiler knows it by its kind.
const PgJson = Statement.custom<PgClient.PgCustom>("PgJson")

interface Route {
  readonly query: <A>(effect: Effect.Effect<A, SqlError.SqlError>) => Effect.Effect<A, SqlError.SqlError>
  readonly stream: <A>(stream: Stream.Stream<A, SqlError.SqlError>) => Stream.Stream<A, SqlError.SqlError>
}

/** A statement that is an operation each time it runs. */
class Routed<A> extends Effectable.Class<ReadonlyArray<A>, SqlError.SqlError> implements Statement.Statement<A> {
  readonly "~effect/sql/Statement/Fragment" = "~effect/sql/Statement/Fragment"
  readonly segments: Statement.Statement<A>["segments"]
  readonly statement: Statement.Statement<A>
  readonly route: Route
  constructor(statement: Statement.Statement<A>, route: Route) {
    super()
    this.segments = statement.segments
    this.statement = statement
    this.route = route
  }
  asEffect() {
    return this.route.query(this.statement)
  }
  get raw() {
    return this.route.query(this.statement.raw)
  }
  get values() {
    return this.route.query(this.statement.values)
  }
  get valuesUnprepared() {
    return this.route.query(this.statement.valuesUnprepared)
  }
  get unprepared() {
    return this.route.query(this.statement.unprepared)
  }
  get withoutTransform() {
    return this.route.query(this.statement.withoutTransform)
  }
  get stream() {
    return this.route.stream(this.statement.stream)
  }
  compile(withoutTransform?: boolean) {
    return this.statement.compile(withoutTransform)
  }
  // Without the parameters, which would end up in a log.
  override toJSON() {
    return { _id: "Statement", sql: this.compile()[0] }
  }
}

const ended = new SqlError.SqlError({
  reason: new SqlError.UnknownError({
    cause: new Error("The fiber has outlived its transaction"),
    message: "The transaction that this fiber was forked in has ended: join the fiber before, or fork it outside",
    operation: "execute"
  })
})
