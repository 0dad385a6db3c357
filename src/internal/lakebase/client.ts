/** One `PgClient` for all callers: statements, streams, transactions and listeners use the caller's own connections. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Effectable, type Fiber, Predicate, Scope, Stream } from "effect"
import type { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlConnection, SqlError, Statement } from "effect/sql"
import type * as Caller from "../../Caller.ts"
import { callerIn, ownerIn, refused } from "../../ExecutionContext.ts"
import { executeAs, executeStreamAs } from "../operation/span.ts"
import { elsewhere } from "../workspace/bound.ts"
import * as Failure from "./failure.ts"
import * as Key from "./key.ts"
import * as Metrics from "./metrics.ts"
import type { Session, Target } from "./driver/session.ts"
import * as Deadlocks from "./deadlocks.ts"
import * as Reserved from "./reserved.ts"
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

type AnyFiber = Fiber.Fiber<unknown, unknown>

interface Kept {
  readonly hold: Deadlocks.Hold
  /** The id of the fiber. The fiber itself would be retained and logged with its context. */
  readonly by: number
}

/** The connections that the fiber or its parents hold. A request for another may have to wait for one of these. */
const Held = Context.Reference<ReadonlyArray<Kept>>("effect-databricks/Lakebase/Held", { defaultValue: () => [] })

const heldBy = (fiber: AnyFiber): ReadonlyArray<Deadlocks.Hold> => {
  const kept = fiber.getRef(Held)
  return kept.length === 0 ? none : kept.filter(({ by, hold }) => hold.leftBy !== by).map(({ hold }) => hold)
}

const none: ReadonlyArray<Deadlocks.Hold> = []

const holding = (fiber: AnyFiber, hold: Deadlocks.Hold): ReadonlyArray<Kept> => [
  ...fiber.getRef(Held).filter(({ hold }) => !Deadlocks.hasEnded(hold)),
  { hold, by: fiber.id }
]

/** Records that the fiber holds this connection from now on. */
const keep = (hold: Deadlocks.Hold) =>
  Effect.withFiber((fiber) => {
    if (!heldBy(fiber).includes(hold)) fiber.setContext(Context.add(fiber.context, Held, holding(fiber, hold)))
    return Effect.void
  })

/** The hold for which the opening stream will keep its connection. */
const Opening = Context.Reference<Deadlocks.Hold | undefined>("effect-databricks/Lakebase/Opening", {
  defaultValue: () => undefined
})

const compiler = PgClient.makeCompiler()

/**
 * Makes clients, for any caller or for `owner` only. They inherit their shared parts, so that a client costs little.
 */
export const make = Effect.fnUntraced(function* (
  sessions: Sessions,
  { host, port, database, ssl, applicationName }: Target,
  principal: Caller.Caller
): Effect.fn.Return<(owner?: Caller.Caller) => PgClient.PgClient, never, Reactivity.Reactivity> {
  const spanAttributes = [
    ["db.system.name", "postgresql"],
    ["db.namespace", database],
    ["server.address", host],
    ["server.port", port]
  ] as const
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

    // Statements in a transaction are part of the transaction's operation.
    const route: Route = {
      query: (effect) =>
        located((caller, transaction) => {
          const timed = Metrics.timed(effect, Metrics.queryDuration, caller.context)
          return transaction === undefined ? executeAs(timed, caller, { name: "lakebase.query" }) : timed
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
              Context.add(Context.add(context, Held, holding(fiber, hold)), Transactions, transactions)
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
            (_) => executeAs(_, caller, { name: "lakebase.transaction" })
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

/** Records that the fiber of a stream holds its connection, also if it passes the rows to other fibers. */
const kept = <A>(stream: Effect.Effect<Stream.Stream<A, SqlError.SqlError>, SqlError.SqlError>) =>
  Stream.suspend(() => {
    const hold = Deadlocks.make()
    const opening = Stream.provideService(Stream.unwrap(Effect.andThen(handOver, stream)), Opening, hold)
    return Stream.transformPull(opening, (pull, scope) =>
      Effect.withFiber((opener) => {
        const { id } = opener
        let isPulled = false
        const first = Effect.withFiber((puller) => {
          if (!isPulled && isChild(puller, id)) hold.leftBy = id
          isPulled = true
          return keep(hold)
        })
        return Scope.addFinalizer(
          scope,
          Effect.sync(() => (hold.state = "ended"))
        ).pipe(Effect.andThen(keep(hold)), Effect.as(Effect.andThen(first, pull)))
      })
    )
  })

/** Lets children start reading the streams that the fiber opened for them: `Stream.mergeAll` opens them in turn. */
const handOver = Effect.withFiber((fiber) => (heldBy(fiber).length > 0 ? Effect.yieldNow : Effect.void))

// A child ends by itself; a fiber forked in a scope may wait for its opener. Fiber's interface lacks the parent.
const isChild = (fiber: AnyFiber, id: number) =>
  Predicate.hasProperty(fiber, "_parent") && Predicate.hasProperty(fiber._parent, "id") && fiber._parent.id === id

// The compiler of statements recognizes it by its kind.
const PgJson = Statement.custom<PgClient.PgCustom>("PgJson")

interface Route {
  readonly query: <A>(effect: Effect.Effect<A, SqlError.SqlError>) => Effect.Effect<A, SqlError.SqlError>
  readonly stream: <A>(stream: Stream.Stream<A, SqlError.SqlError>) => Stream.Stream<A, SqlError.SqlError>
}

/** A statement that runs as an operation each time. */
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
    return this.query(this.statement)
  }
  get raw() {
    return this.query(this.statement.raw)
  }
  get values() {
    return this.query(this.statement.values)
  }
  get valuesUnprepared() {
    return this.query(this.statement.valuesUnprepared)
  }
  get unprepared() {
    return this.query(this.statement.unprepared)
  }
  get withoutTransform() {
    return this.query(this.statement.withoutTransform)
  }
  get stream() {
    const wrong = mistakeIn(this.segments)
    return this.route.stream(wrong === undefined ? this.statement.stream : Stream.fail(wrong))
  }
  private query<B>(effect: Effect.Effect<B, SqlError.SqlError>) {
    const wrong = mistakeIn(this.segments)
    return this.route.query(wrong === undefined ? effect : Effect.fail(wrong))
  }
  compile(withoutTransform?: boolean) {
    return this.statement.compile(withoutTransform)
  }
  // Omits the parameters, to keep them out of logs.
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
