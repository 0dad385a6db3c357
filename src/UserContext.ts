/**
 * The type-level proof that a call runs as a user. Browser-safe.
 *
 * @since 0.1.0
 */
import { Context } from "effect"
import type { Caller } from "./Caller.ts"

/**
 * The user that a call runs as. Only `asUser` provides it.
 *
 * Code that must never run as the service principal requires this service, and runs as its value.
 *
 * @since 0.1.0
 * @category services
 */
export class UserContext extends Context.Service<UserContext, Caller>()("effect-databricks/UserContext") {}
