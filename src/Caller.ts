/**
 * The identity that a call runs as.
 *
 * @since 0.1.0
 */
import type { Effect, Redacted } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"

/**
 * A user or service principal that the workspace has identified, with the credential to act as them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Caller {
  /** What the span's `execution.context` says; the development fallback is `"service"`. */
  readonly context: "service" | "user"
  /** What the span's `caller.id` says: the `x-forwarded-user` value, or the service principal's id. */
  readonly id: string
  /** The SCIM id that the workspace answered with: the key of caches, pools and streams. */
  readonly scimId: string
  /** The SCIM user name: an e-mail, or a service principal's client id. It is the Postgres role too. */
  readonly userName: string
  readonly email: string | undefined
  /** True only where a user was asked for, and the service principal runs because development had no token. */
  readonly oboDevFallback: boolean
  /** The value of the `Authorization` header, asked for when a call is sent and refreshed by the SDK's auth chain. */
  readonly authorization: Effect.Effect<Redacted.Redacted, DatabricksError>
}

/**
 * The one key of everything that is kept by caller: caches, pools, flights and streams.
 *
 * A user and a service principal never share a key. It holds no token and no name that a header chose.
 *
 * @since 0.1.0
 * @category accessors
 */
export const key = ({ context, scimId }: Caller): string => `${context}:${scimId}`
