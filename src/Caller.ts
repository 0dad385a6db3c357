/**
 * The identity that a call runs as.
 *
 * @since 0.1.0
 */
import type { Effect, Redacted } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"

/**
 * A user or service principal that the workspace has identified, with the credential to run as them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Caller {
  /** The id of the workspace that identified the caller. Clients of other workspaces refuse to run as this caller. */
  readonly workspaceId: string
  /** The span's `execution.context`; `"service"` on the development fallback. */
  readonly context: "service" | "user"
  /**
   * The span's `caller.id`. For a user the value of `x-forwarded-user` if it names the verified person, else the SCIM
   * id; for the service principal its SCIM id.
   */
  readonly id: string
  /** The SCIM id that the workspace returned, and the span's `enduser.id`. */
  readonly scimId: string
  /** The SCIM user name: an e-mail, or a service principal's client id. Also the name of the Postgres role. */
  readonly userName: string
  readonly email: string | undefined
  /** Whether the service principal runs in place of a user, because the request had no token in development. */
  readonly oboDevFallback: boolean
  /**
   * The value of the `Authorization` header. It is read when a request is sent, and refreshed by the SDK's auth chain.
   */
  readonly authorization: Effect.Effect<Redacted.Redacted, DatabricksError>
}

/**
 * Returns the key of all data that is stored by caller: in caches, pools, shared runs and streams.
 *
 * The key begins with the workspace's id. A user and a service principal never share a key. It contains no token and no
 * value of a forwarded header.
 *
 * @since 0.1.0
 * @category accessors
 */
export const key = ({ context, scimId, workspaceId }: Caller): string =>
  `${encodeURIComponent(workspaceId)}:${context}:${scimId}`

/**
 * The attributes of the caller in spans and logs.
 *
 * @internal
 */
export const attributes = ({ context, id, oboDevFallback, scimId }: Caller): Readonly<Record<string, unknown>> => {
  const who = { "execution.context": context, "caller.id": id, "enduser.id": scimId }
  return oboDevFallback ? { ...who, "execution.obo_dev_fallback": true } : who
}
