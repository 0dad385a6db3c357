/** One `PgClient` for all callers: every statement, stream, transaction and listener goes to the caller's own connection. */
import { PgClient } from "@effect/sql-pg"
import { Cause, Context, Effect, type Fiber, Scope, Stream } from "effect"
import * as Effectable from "effect/Effectable"
import type { Reactivity } from "effect/reactivity"
import { SqlClient, type SqlConnection, SqlError, Statement } from "effect/sql"
import type { Caller } from "../../Caller.ts"
import * as Operation from "../../Operation.ts"
import { ExecutionContext } from "../../ExecutionContext.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import type { Session } from "./session.ts"

export interface Sessions {
  readonly use: <A, E, R>(
    caller: Caller,
    depth: number,
    f: (session: Session) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError.SqlError, R>
  readonly lease: (caller: Caller, depth: number) => Effect.Effect<Session, SqlError.SqlError, Scope.Scope>
}

/** The sessions whose transactions the fiber is in, by caller: `asUser` leaves one, and coming back returns to it. */
const Transactions = Context.Reference<ReadonlyMap<string, Session>>("effect-databricks/Lakebase/Transactions", {
  defaultValue: () => new Map()
})

export const compiler = PgClient.makeCompiler()

/** A client for whoever runs, or for `fixed` alone. */
export const make = Effect.fnUntraced(function* (
  sessions: Sessions,
  options: {
    readonly service: ServiceContext["Service"]
    readonly config: PgClient.PgClientConfig
    readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>
  },
  fixed?: Caller
): Effect.fn.Return<PgClient.PgClient, never, Reactivity.Reactivity> {
  const { service } = options
  const callerOf = (fiber: Fiber.Fiber<unknown, unknown>) =>
    fixed ?? fiber.getRef(ExecutionContext) ?? service.principal

  const lease: SqlConnection.Acquirer = Effect.map(leaseSession(), (_) => _.connection)
  function leaseSession(): Effect.Effect<Session, SqlError.SqlError, Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const caller = callerOf(fiber)
      const held = fiber.getRef(Transactions)
      const session = held.get(caller.scimId)
      return session === undefined ? sessions.lease(caller, held.size) : Effect.succeed(session)
    })
  }
  const borrow: SqlConnection.Borrower = (f) =>
    Effect.withFiber((fiber) => {
      const caller = callerOf(fiber)
      const held = fiber.getRef(Transactions)
      const session = held.get(caller.scimId)
      return session === undefined ? sessions.use(caller, held.size, (_) => f(_.connection)) : f(session.connection)
    })

  const operation = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) =>
      fiber.getRef(Transactions).has(callerOf(fiber).scimId)
        ? effect
        : Operation.execute(fixed === undefined ? effect : Effect.provideService(effect, ExecutionContext, fixed), {
            name
          }).pipe(Effect.provideService(ServiceContext, service))
    ) as Effect.Effect<A, E, R> // the service context is provided

  const withTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
    Effect.withFiber((fiber) => {
      const caller = callerOf(fiber)
      const held = fiber.getRef(Transactions)
      const session = held.get(caller.scimId)
      if (session !== undefined) return typedFailure(session.transactions.withTransaction(effect))
      return operation(
        "lakebase.transaction",
        sessions.use(caller, held.size, (session) =>
          typedFailure(
            session.transactions.withTransaction(
              Effect.provideService(effect, Transactions, new Map(held).set(caller.scimId, session))
            )
          )
        )
      )
    })

  const base = yield* SqlClient.make({
    acquirer: lease,
    borrower: borrow,
    compiler,
    driver: "@effect/sql-pg",
    spanAttributes: options.spanAttributes
  })
  const streamed = <A>(stream: Stream.Stream<A, SqlError.SqlError>): Stream.Stream<A, SqlError.SqlError> =>
    Stream.unwrap(
      Effect.withFiber((fiber) => {
        const caller = callerOf(fiber)
        if (fiber.getRef(Transactions).has(caller.scimId)) return Effect.succeed(stream)
        return Effect.succeed(
          Operation.executeStream(stream, { name: "lakebase.stream" }).pipe(
            Stream.provideService(ExecutionContext, fixed ?? fiber.getRef(ExecutionContext)),
            Stream.provideService(ServiceContext, service)
          )
        )
      })
    )
  const traced = <A extends object>(statement: Statement.Statement<A>): Statement.Statement<A> => {
    const query = <B>(effect: Effect.Effect<B, SqlError.SqlError>) => operation("lakebase.query", effect)
    const effect = Effectable.Prototype<Statement.Statement<A>>({
      label: "Statement",
      evaluate: () => query(statement)
    })
    return Object.defineProperties(Object.assign(Object.create(statement), effect), {
      raw: { get: () => query(statement.raw) },
      values: { get: () => query(statement.values) },
      valuesUnprepared: { get: () => query(statement.valuesUnprepared) },
      unprepared: { get: () => query(statement.unprepared) },
      withoutTransform: { get: () => query(statement.withoutTransform) },
      stream: { get: () => streamed(statement.stream) }
    })
  }
  const unsafe = <A extends object>(sql: string, params?: ReadonlyArray<unknown>) => traced(base.unsafe<A>(sql, params))
  const self = Object.assign(
    // A template makes a statement; anything else is one of the constructor's helpers.
    ((first: TemplateStringsArray | string, ...rest: Array<never>) =>
      typeof first === "object" && "raw" in first
        ? traced(base(first, ...rest))
        : base(first as string)) as typeof base,
    base,
    {
      unsafe,
      reserve: lease,
      withTransaction,
      [PgClient.TypeId]: PgClient.TypeId,
      config: options.config,
      json: (value: unknown) => Statement.fragment([PgJson(value)]),
      listen: (channel: string) => Effect.flatMap(leaseSession(), (session) => session.listen(channel)),
      notify: (channel: string, payload: string) =>
        Effect.asVoid(unsafe("SELECT pg_notify($1, $2)", [channel, payload]))
    }
  )
  const client: PgClient.PgClient = Object.assign(self, { safe: self, withoutTransforms: () => client }) as never
  return client
})

// The compiler knows it by its kind.
const PgJson = Statement.custom<PgClient.PgCustom>("PgJson")

// A failed ROLLBACK of a dead connection is a defect to the driver: to whoever called it is a failure like others.
const typedFailure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError.SqlError, R> =>
  Effect.catchCause(effect, (cause): Effect.Effect<never, E | SqlError.SqlError> => {
    const died = cause.reasons.find(Cause.isDieReason)
    return died !== undefined && SqlError.isSqlError(died.defect) ? Effect.fail(died.defect) : Effect.failCause(cause)
  })
