/**
 * Who a call runs as, decided when it runs.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, type Request, RequestResolver } from "effect"
import { dual } from "effect/Function"
import * as Caller from "./Caller.ts"
import * as ForwardedHeaders from "./ForwardedHeaders.ts"
import { AuthenticationError, type IdentityError } from "./IdentityError.ts"
import { ServiceContext, ServiceContextError } from "./ServiceContext.ts"
import { UserContext } from "./UserContext.ts"

/**
 * The caller of the running fiber; `undefined` is the service principal.
 *
 * A reference and not a service, because a service that was built at start-up gives its own start-up context back to
 * what it runs, and would take the user away. No layer of an application's start-up may set it: only `asUser` does.
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
 * In production a request without `x-forwarded-user` or `x-forwarded-access-token` fails with `AuthenticationError`. In
 * development (`NODE_ENV=development`) a request without a token runs as the service principal, with a warning and
 * `execution.obo_dev_fallback` in its span.
 *
 * @since 0.1.0
 * @category combinators
 */
export const asUser = (request: ForwardedHeaders.Source): Layer.Layer<UserContext, IdentityError, ServiceContext> =>
  // Not memoised: a layer that is kept and provided again proves its caller again.
  Layer.fromBuild(() => Effect.map(identify(request), (user) => withCaller(Context.empty(), user)))

/**
 * `Effect.provide(asUser(request))` without the layer, at little more than half its cost.
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
 * Runs one call as the service principal, also where a user's call asks for it.
 *
 * What requires UserContext runs as the user here too: it reads who that is from UserContext.
 *
 * @since 0.1.0
 * @category combinators
 */
export const asService = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => runAs(effect, undefined)

/**
 * Batches the requests of each caller apart: a resolver runs as whoever asked first, and must not answer another.
 *
 * @since 0.1.0
 * @category combinators
 */
export const groupedByCaller = <A extends Request.Any>(
  resolver: RequestResolver.RequestResolver<A>
): RequestResolver.RequestResolver<A> =>
  RequestResolver.grouped(resolver, (entry) => {
    const caller = Context.get(entry.context, ExecutionContext)
    return caller === undefined ? "" : Caller.key(caller)
  })

/**
 * The caller of the running fiber.
 *
 * @since 0.1.0
 * @category accessors
 */
export const current: Effect.Effect<Caller.Caller, never, ServiceContext> = Effect.contextWith(
  (context: Context.Context<ServiceContext>) => Effect.succeed(callerOf(context))
)

/**
 * The `x-forwarded-user` of the user, or the service principal's id.
 *
 * The proxy says it, and only an e-mail address can be proven: the key of what is kept by user is the `scimId` of `current`.
 *
 * @since 0.1.0
 * @category accessors
 */
export const getCurrentUserId: Effect.Effect<string, never, ServiceContext> = Effect.map(current, (_) => _.id)

/**
 * Whether the call runs as a user; the development fallback does not.
 *
 * @since 0.1.0
 * @category accessors
 */
export const isInUserContext: Effect.Effect<boolean, never, ServiceContext> = Effect.map(
  current,
  (_) => _.context === "user"
)

/**
 * @since 0.1.0
 * @category accessors
 */
export const getWorkspaceId: Effect.Effect<string, never, ServiceContext> = Effect.map(
  ServiceContext,
  (_) => _.workspaceId
)

/**
 * The SQL warehouse, or a `ServiceContextError` that names `DATABRICKS_WAREHOUSE_ID` where there is none.
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
          message: "There is no SQL warehouse to use: set DATABRICKS_WAREHOUSE_ID"
        })
    )
)

const withCaller = <R>(context: Context.Context<R>, user: Caller.Caller): Context.Context<R | UserContext> =>
  Context.add(Context.add(context, UserContext, user), ExecutionContext, user)

/**
 * The caller of a context: the one way in which it is read.
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
      ? // Taken out, not set to undefined: a service that is built in here, and keeps its context, must not keep this.
        Context.omit(ExecutionContext)(context)
      : Context.add(context, ExecutionContext, caller)

/**
 * Runs an effect as this caller, whoever the fiber runs as.
 *
 * @internal
 */
export const runAs = <A, E, R>(effect: Effect.Effect<A, E, R>, caller: Caller.Caller | undefined) =>
  Effect.updateContext(effect, (context: Context.Context<R>) => runningAs(context, caller))

/**
 * The key of the caller for whom the running work is cached: no other user may run in it, or would be answered from it.
 *
 * @internal
 */
export const CachedFor = Context.Reference<string | undefined>("effect-databricks/ExecutionContext/CachedFor", {
  defaultValue: () => undefined
})

/**
 * Dies where a user would run in work that is cached for another caller; `undefined` everywhere else.
 *
 * @internal
 */
export const refused = (context: Context.Context<never>, caller: Caller.Caller): Effect.Effect<never> | undefined => {
  const owner = Context.get(context, CachedFor)
  return owner === undefined || caller.context === "service" || owner === Caller.key(caller)
    ? undefined
    : Effect.die(
        new Error(
          "A user's call runs inside an operation that is cached for another caller, who would be answered with it: put asUser around the cached operation, or cache inside it"
        )
      )
}

const identify = (request: ForwardedHeaders.Source): Effect.Effect<Caller.Caller, IdentityError, ServiceContext> =>
  Effect.contextWith((context: Context.Context<ServiceContext>) => {
    const { development, identityVerifier, principal } = Context.get(context, ServiceContext)
    return Effect.flatMapEager(ForwardedHeaders.decodeEager(request), (headers) => {
      if (headers instanceof ForwardedHeaders.WithToken) {
        if (headers.user === undefined && !development) return noUser
        return Effect.flatMapEager(
          identityVerifier.verify(headers),
          (user) => refused(context, user) ?? Effect.succeed(user)
        )
      }
      return development ? Effect.as(fallbackWarning, { ...principal, oboDevFallback: true }) : noToken(headers.user)
    })
  })

const fallbackWarning = Effect.logWarning(
  "No x-forwarded-access-token in development: this call runs as the service principal"
)

const noToken = (user: string | undefined) =>
  Effect.fail(
    new AuthenticationError({
      message:
        user === undefined
          ? "The request has no x-forwarded-user and no x-forwarded-access-token header: it did not come through the Databricks Apps proxy"
          : "The request has no x-forwarded-access-token header: user authorization is off for this app. Add user_api_scopes to it, restart it, and sign in again"
    })
  )

const noUser = Effect.suspend(() =>
  Effect.fail(new AuthenticationError({ message: "The request has no x-forwarded-user header" }))
)
