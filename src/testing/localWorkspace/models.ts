/** The models of `LocalWorkspace`. */
import type { Duration } from "effect"

/**
 * A user of the local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface User {
  /** The e-mail address: SCIM user name and Postgres role. */
  readonly userName: string
  readonly displayName?: string
}

/**
 * A SQL warehouse to begin with.
 *
 * @category models
 * @since 0.1.0
 */
export interface WarehouseDefinition {
  readonly name: string
  /** `RUNNING` by default. */
  readonly state?: "RUNNING" | "STOPPED"
  /**
   * What it answers inline: JSON only (`"standard"`, the default, and `"classic"`) or Arrow only (`"arrow"`). By
   * external links every kind has every format.
   */
  readonly kind?: "standard" | "arrow" | "classic"
}

/**
 * The settings of a local workspace; none is needed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** `alice@example.com` and `bob@example.com` by default. */
  readonly users?: ReadonlyArray<User>
  /** The port of the HTTP server; a free one by default. */
  readonly port?: number
  readonly workspaceId?: string
  /** One that runs and one that is stopped by default; the first that runs is the default warehouse. */
  readonly warehouses?: ReadonlyArray<WarehouseDefinition>
  /** How long a stopped warehouse takes to start; 500 milliseconds by default. */
  readonly warehouseStartTime?: Duration.Input
  /** How many rows one chunk of a result holds; 10,000 by default. */
  readonly rowsPerChunk?: number
  /** How many bytes of rows an inline result may have; 25 MiB by default, as in Databricks. */
  readonly inlineByteLimit?: number
  /** How long an external link can be fetched; 15 minutes by default, as in Databricks. */
  readonly externalLinkTtl?: Duration.Input
  /** The `http_headers` that a fetch of an external link must carry; none by default. */
  readonly externalLinkHeaders?: Readonly<Record<string, string>>
  /** The scopes of a user's token that names none; those of the endpoints of this workspace by default. */
  readonly userScopes?: ReadonlyArray<string>
  /** How long the service principal's OAuth tokens live; one hour by default. */
  readonly serviceTokenTtl?: Duration.Input
  /** `max_connections` of Postgres; 104 by default, as Lakebase has at half a compute unit. */
  readonly maxConnections?: number
  /** The certificate with which Postgres speaks TLS, and its key, in PEM; without it there is only plaintext. */
  readonly ssl?: { readonly cert: string; readonly key: string }
}

/**
 * How a user's token is minted.
 *
 * @category models
 * @since 0.1.0
 */
export interface TokenOptions {
  /** One hour by default. */
  readonly ttl?: Duration.Input
  readonly scopes?: ReadonlyArray<string>
}
