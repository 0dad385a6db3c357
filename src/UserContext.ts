/**
 * The proof, in a type, that a call runs for a user; a browser can import this module.
 *
 * @since 0.1.0
 */
import { Context } from "effect"
import type { Caller } from "./Caller.ts"

/**
 * The user for whom a call runs; only `asUser` provides it.
 *
 * Code that must never run as the service principal requires it and runs as its value.
 *
 * @since 0.1.0
 * @category services
 */
export class UserContext extends Context.Service<UserContext, Caller>()("effect-databricks/UserContext") {}
