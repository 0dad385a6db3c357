/**
 * Decides what a front end may do with the permissions of the app. What runs as the user needs no policy: Databricks
 * decides.
 *
 * @since 0.1.0
 */
import { Effect } from "effect"
import type { Caller } from "../Caller.ts"

/**
 * An action that changes nothing in the workspace.
 *
 * @since 0.1.0
 * @category models
 */
export type Read = "query" | "metric" | "search" | "list" | "read" | "status"

/**
 * An action that changes something, or costs something, in the workspace.
 *
 * @since 0.1.0
 * @category models
 */
export type Write = "upload" | "mkdir" | "delete" | "run" | "cancel" | "invoke"

/**
 * An action of a front end.
 *
 * @since 0.1.0
 * @category models
 */
export type Action = Read | Write

/**
 * Returns whether a request may do this as the app. `false` is a 403.
 *
 * `caller` is the verified user who sent the request; `undefined` if the request has no token, because the app has no
 * user authorization.
 *
 * @since 0.1.0
 * @category models
 */
export type Policy<A extends Action, Resource> = (
  action: A,
  resource: Resource,
  caller: Caller | undefined
) => Effect.Effect<boolean>

const reads: ReadonlySet<Action> = new Set<Read>(["query", "metric", "search", "list", "read", "status"])

/**
 * Allows the actions that change nothing. The default of every plugin.
 *
 * @since 0.1.0
 * @category policies
 */
export const readOnly: Policy<Action, unknown> = (action) => Effect.succeed(reads.has(action))

/**
 * Allows every action to each request, also to one without a user.
 *
 * @since 0.1.0
 * @category policies
 */
export const allowAll: Policy<Action, unknown> = () => Effect.succeed(true)

/**
 * Allows no action.
 *
 * @since 0.1.0
 * @category policies
 */
export const denyAll: Policy<Action, unknown> = () => Effect.succeed(false)
