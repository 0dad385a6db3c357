/** Who may run a query or a metric view, and the warehouse as the identity that it runs as. */
import { type Duration, Effect, Stream } from "effect"
import { type Action, type Policy, readOnly } from "../../../appkit/Policy.ts"
import { DatabricksError } from "../../../DatabricksError.ts"
import { ExecutionContext } from "../../../ExecutionContext.ts"
import * as SqlWarehouse from "../../../SqlWarehouse.ts"
import { UserContext } from "../../../UserContext.ts"
import type * as HttpFailure from "../../../http/HttpFailure.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"

export interface Options<A extends Action> {
  readonly keys?: ReadonlyArray<string> | undefined
  readonly policy?: Policy<A, { readonly key: string }> | undefined
  readonly timeout?: Duration.Input | undefined
  readonly startTimeout?: Duration.Input | undefined
}

/** Refuses what runs as the user in a request without one, and what runs as the app where the policy says no. */
export const admit = <A extends Action>(
  runsAs: "user" | "service",
  { policy = readOnly }: Options<A>,
  action: A,
  key: string
): Effect.Effect<void, HttpFailure.HttpFailure> =>
  runsAs === "service"
    ? Routes.allow(policy, action, { key })
    : Effect.flatMap(Effect.serviceOption(UserContext), ({ _tag }) => (_tag === "Some" ? Effect.void : withoutUser))

const withoutUser = Effect.fail(
  Failure.refusal(401, "This needs your sign-in, which this request does not have", "AuthenticationError")
)

/** The states of the warehouse until it runs, as the identity of the query. */
export const ready = (
  runsAs: "user" | "service",
  { startTimeout: timeout }: Pick<Options<never>, "startTimeout">
): Stream.Stream<
  SqlWarehouse.WarehouseState,
  HttpFailure.HttpFailure | Stream.Error<ReturnType<typeof SqlWarehouse.ready>>,
  SqlWarehouse.SqlWarehouse
> => {
  const states = SqlWarehouse.ready({ timeout })
  return Stream.catchIf(
    runsAs === "user" ? states : Stream.provideService(states, ExecutionContext, undefined),
    isUnavailable,
    (error) => Stream.fromEffect(Effect.andThen(Effect.logError("The SQL warehouse does not run", error), unavailable))
  )
}

const isUnavailable = (error: unknown) =>
  error instanceof DatabricksError
    ? error.reason._tag === "UnavailableError" || error.reason._tag === "UnknownWarehouseError"
    : (error as { readonly _tag: string })._tag === "OperationTimeoutError"

const unavailable = Effect.fail(
  Failure.refusal(503, "The SQL warehouse of this app is not available: try again later", "WAREHOUSE_UNAVAILABLE")
)
