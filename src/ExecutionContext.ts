/**
 * Decides, when a call runs, whether it runs as a user or as the service principal.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, type Request, RequestResolver } from "effect"
import { dual } from "effect/Function"
import * as Caller from "./Caller.ts"
import * as ForwardedHeaders from "./ForwardedHeaders.ts"
import { AuthenticationError, type IdentityError } from "./IdentityError.ts"
import * as Transaction from "./internal/sql/transaction.ts"
import { ServiceContext, ServiceContextError } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"

/**
 * The caller of the running fiber; `undefined` is the service principal.
 *
 * Only `asUser` sets it; no start-up layer of an application may. It is a reference rather than a service: a service
 * that was built at start-up would restore the start-up context and so remove the user.
 *
 * @since 0.1.0
 * @category references
 */
export const ExecutionContext = Context.Reference<Caller.Caller | undefined>("effect-databricks/ExecutionContext", {
  defaultValue: () => undefined
})

/**
 * Runs one call as the person who sent `request`: `Effect.provide(asUser(request))`, `Stream.provide(asUser(request))`.
 *
 * In production, a request without `x-forwarded-user` or `x-forwarded-access-token` fails with `AuthenticationError`.
 * In development (`NODE_ENV=development`), a request without a token runs as the service principal: the log has a
 * warning, and the span `execution.obo_dev_fallback`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const asUser = (request: ForwardedHeaders.Source): Layer.Layer<UserContext, IdentityError, ServiceContext> =>
  // Not memoised: a layer that is provided twice verifies the caller twice.
  Layer.fromBuild(() => Effect.map(identify(request), (user) => withCaller(Context.empty(), user)))

/**
 * Runs an effect as the person who sent `request`, like `Effect.provide(asUser(request))` at about half its cost.
 *
 * @since 0.1.0
 * @category combinators
 */
export const provideUser: {
  (
    request: ForwardedHeaders.Source
  ): <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | IdentityError, Exclude<R, UserContext> | ServiceContext>
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    request: ForwardedHeaders.Source
  ): Effect.Effect<A, E | IdentityError, Exclude<R, UserContext> | ServiceContext>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, request: ForwardedHeaders.Source) =>
  Effect.flatMap(identify(request), (user) =>
    Effect.updateContext(
      effect,
      (context: Context.Context<Exclude<R, UserContext>>) =>
        // Context.add gives R back its UserContext; the type checker cannot see through Exclude.
        withCaller(context, user) as Context.Context<R>
    )
  )
)

/**
 * Runs one call as the service principal, also inside a user's call.
 *
 * Code that requires `UserContext` still runs as the user, because it reads the caller from `UserContext`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const asService = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => runAs(effect, undefined)

/**
 * Binds an effect to the current caller, so that it runs as this caller in any fiber.
 *
 * A queue, a `FiberSet` runtime, `Deferred.completeWith` and `Scope.addFinalizer` run an effect in another fiber, and
 * so as another caller. The bound effect keeps all services of this fiber except a database transaction, which may have
 * ended. It uses this call's credential: a user's token expires within an hour.
 *
 * ```ts
 * import { Effect, Queue } from "effect"
 * import { ExecutionContext, SqlWarehouse } from "effect-databricks"
 *
 * export const handOver = (jobs: Queue.Queue<Effect.Effect<unknown, unknown>>) =>
 *   Effect.gen(function* () {
 *     const job = yield* ExecutionContext.bound(SqlWarehouse.query()`SELECT * FROM sales`)
 *     yield* Queue.offer(jobs, job) // a worker runs it as the caller of handOver
 *   })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const bound = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Effect.Effect<A, E>, never, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    // Replaces the whole context: a worker that was started for a user has that user's context.
    Effect.succeed(Effect.setContext(effect, Transaction.without(context)))
  )

/**
 * Groups the requests of a resolver by caller: a batch runs as the caller of its first request.
 *
 * @since 0.1.0
 * @category combinators
 */
export const groupedByCaller = <A extends Request.Any>(
  resolver: RequestResolver.RequestResolver<A>
): RequestResolver.RequestResolver<A> =>
  RequestResolver.grouped(resolver, ({ context }) => {
    // Two workspaces in one process have two service principals.
    const caller = Context.get(context, ExecutionContext) ?? Context.getOrUndefined(context, ServiceContext)?.principal
    return caller === undefined ? "" : Caller.key(caller)
  })

/**
 * Returns the caller of the running fiber.
 *
 * @since 0.1.0
 * @category accessors
 */
export const current: Effect.Effect<Caller.Caller, never, ServiceContext> = Effect.contextWith(
  (context: Context.Context<ServiceContext>) => Effect.succeed(callerOf(context))
)

/**
 * Returns the id of the caller: a user's `x-forwarded-user` if it names the verified person, else the SCIM id.
 *
 * One person may have several such ids. Use `Caller.key` as the key of data that is stored by caller.
 *
 * @since 0.1.0
 * @category accessors
 */
export const getCurrentUserId: Effect.Effect<string, never, ServiceContext> = Effect.map(current, (_) => _.id)

/**
 * Returns whether the call runs as a user; `false` on the development fallback.
 *
 * @since 0.1.0
 * @category accessors
 */
export const isInUserContext: Effect.Effect<boolean, never, ServiceContext> = Effect.map(
  current,
  (_) => _.context === "user"
)

/**
 * Returns the id of the workspace.
 *
 * @since 0.1.0
 * @category accessors
 */
export const getWorkspaceId: Effect.Effect<string, never, ServiceContext> = Effect.map(
  ServiceContext,
  (_) => _.workspaceId
)

/**
 * Returns the id of the SQL warehouse. Fails with a `ServiceContextError` if none is configured.
 *
 * @since 0.1.0
 * @category accessors
 */
export const getWarehouseId: Effect.Effect<string, ServiceContextError, ServiceContext> = Effect.flatMap(
  ServiceContext,
  ({ warehouseId }) =>
    Effect.mapError(
      Effect.fromOption(warehouseId),
      () =>
        new ServiceContextError({
          message: "No SQL warehouse is configured: set DATABRICKS_WAREHOUSE_ID"
        })
    )
)

/**
 * The context in which everything runs as this user, whom the verifier has proven.
 *
 * @internal
 */
export const withCaller = <R>(context: Context.Context<R>, user: Caller.Caller): Context.Context<R | UserContext> =>
  Context.add(Context.add(context, UserContext, user), ExecutionContext, user)

/**
 * Returns the caller of a context. Every module reads the caller through it.
 *
 * @internal
 */
export const callerIn = (context: Context.Context<never>, principal: Caller.Caller): Caller.Caller =>
  Context.get(context, ExecutionContext) ?? principal

/**
 * `callerIn` for a context that has the service principal.
 *
 * @internal
 */
export const callerOf = (context: Context.Context<ServiceContext>): Caller.Caller =>
  callerIn(context, Context.get(context, ServiceContext).principal)

/**
 * The context in which everything runs as this caller.
 *
 * @internal
 */
export const runningAs = <R>(context: Context.Context<R>, caller: Caller.Caller | undefined): Context.Context<R> =>
  Context.get(context, ExecutionContext) === caller
    ? context
    : caller === undefined
      ? // Omitted rather than set to undefined, so that a service that is built here does not keep the key.
        Context.omit(ExecutionContext)(context)
      : Context.add(context, ExecutionContext, caller)

/**
 * The context in which everything runs as in another one, for the same user.
 *
 * @internal
 */
export const runningLike = <R>(context: Context.Context<R>, other: Context.Context<never>): Context.Context<R> => {
  const running = runningAs(context, Context.get(other, ExecutionContext))
  const user = Context.getOrUndefined(other, UserContext)
  if (user === Context.getOrUndefined(running, UserContext)) return running
  // Context.omit removes nothing that R requires: an effect that requires a user has had one since it began.
  return user === undefined
    ? (Context.omit(UserContext)(running) as Context.Context<R>)
    : Context.add(running, UserContext, user)
}

/**
 * Runs an effect as this caller, in place of the fiber's own.
 *
 * @internal
 */
export const runAs = <A, E, R>(effect: Effect.Effect<A, E, R>, caller: Caller.Caller | undefined) =>
  Effect.updateContext(effect, (context: Context.Context<R>) => runningAs(context, caller))

/**
 * The key of the caller for whom the running work is cached. No other user may run in it: the cached result is not
 * theirs.
 *
 * @internal
 */
export const CachedFor = Context.Reference<string | undefined>("effect-databricks/ExecutionContext/CachedFor", {
  defaultValue: () => undefined
})

/**
 * Dies if a user would run in work that is cached for another caller; `undefined` otherwise.
 *
 * @internal
 */
export const refused = (context: Context.Context<never>, caller: Caller.Caller): Effect.Effect<never> | undefined => {
  const owner = Context.get(context, CachedFor)
  return owner === undefined || caller.context === "service" || owner === Caller.key(caller)
    ? undefined
    : Effect.die(
        new Error(
          "A user's call runs inside an operation that is cached for another caller, and its result would be cached for that caller: put asUser around the cached operation, or cache inside asUser"
        )
      )
}

const identify = (request: ForwardedHeaders.Source): Effect.Effect<Caller.Caller, IdentityError, ServiceContext> =>
  Effect.contextWith((context: Context.Context<ServiceContext>) =>
    identifyIn(context, Context.get(context, ServiceContext), request)
  )

/**
 * Returns the verified sender of a request, who may run in this context.
 *
 * @internal
 */
export const identifyIn = (
  context: Context.Context<never>,
  { development, identityVerifier, principal }: ServiceContext["Service"],
  request: ForwardedHeaders.Source
): Effect.Effect<Caller.Caller, IdentityError> =>
  Effect.flatMapEager(ForwardedHeaders.decodeEager(request), (headers) => {
    if (headers instanceof ForwardedHeaders.WithToken) {
      if (headers.user === undefined && !development) return noUser
      return Effect.flatMapEager(
        identityVerifier.verify(headers),
        (user) => refused(context, user) ?? Effect.succeed(user)
      )
    }
    return development ? Effect.as(fallbackWarning, { ...principal, oboDevFallback: true }) : noToken(headers.user)
  })

const fallbackWarning = Effect.logWarning(
  "No x-forwarded-access-token in development: this call runs as the service principal"
)

const noToken = (user: string | undefined) =>
  Effect.fail(
    new AuthenticationError({
      message:
        user === undefined
          ? "The request has neither an x-forwarded-user nor an x-forwarded-access-token header: it did not come through the Databricks Apps proxy"
          : "The request has no x-forwarded-access-token header: user authorization is off for this app. Add user_api_scopes to it, restart it, and sign in again"
    })
  )

const noUser = Effect.suspend(() =>
  Effect.fail(
    new AuthenticationError({
      message: "The request has no x-forwarded-user header: it did not come through the Databricks Apps proxy"
    })
  )
)
