/** What other drivers of Postgres need to log in as the service principal. */
import { type Context, Effect, Redacted } from "effect"
import type { SqlError } from "effect/sql"
import type { ConnectionOptions } from "node:tls"
import type { Target } from "./driver/session.ts"

export interface PgConfig {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly ssl: boolean | ConnectionOptions
  readonly application_name: string
  /** For each connection that opens: a token that is good for 2 minutes at least. Rejects with a `SqlError`. */
  readonly password: () => Promise<string>
}

export const make = (
  { applicationName, ...target }: Target,
  user: string,
  password: Effect.Effect<Redacted.Redacted, SqlError.SqlError>,
  context: Context.Context<never>
): PgConfig => ({
  ...target,
  user,
  application_name: applicationName,
  password: () => Effect.runPromiseWith(context)(Effect.map(password, Redacted.value))
})
