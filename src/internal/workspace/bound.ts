/** Binds a caller to the workspace that identified them: clients of other workspaces refuse to run as this caller. */
import { type Context, Effect } from "effect"
import type { Caller } from "../../Caller.ts"
import { type DatabricksError, make as databricksError, WorkspaceMismatchError } from "../../DatabricksError.ts"
import { callerIn } from "../../ExecutionContext.ts"

/** Fails for a caller of another workspace than this principal's; `undefined` for a caller of the same workspace. */
export const elsewhere = (caller: Caller, principal: Caller): Effect.Effect<never, DatabricksError> | undefined =>
  caller.workspaceId === principal.workspaceId
    ? undefined
    : Effect.fail(
        databricksError(
          new WorkspaceMismatchError({
            callerWorkspaceId: caller.workspaceId,
            workspaceId: principal.workspaceId,
            message: `Nothing was sent: workspace ${caller.workspaceId} identified the caller, and this client reaches workspace ${principal.workspaceId}. Use the client of the ServiceContext that ran asUser, or call this one asService`
          })
        )
      )

/** Runs an effect, unless the caller of the fiber is of another workspace. */
export const bound =
  (principal: Caller) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | DatabricksError, R> =>
    Effect.contextWith(
      (context: Context.Context<R>): Effect.Effect<A, E | DatabricksError, R> =>
        elsewhere(callerIn(context, principal), principal) ?? effect
    )
