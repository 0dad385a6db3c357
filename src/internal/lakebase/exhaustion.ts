/** The `SqlError` of a caller that gets no connection, or loses one, because of a limit. */
import { Duration, Predicate } from "effect"
import type { SqlError } from "effect/sql"
import { PoolExhaustedError } from "../../LakebaseError.ts"
import { ofHolder } from "../workspace/refusal.ts"
import { codeOf, unavailable } from "./failure.ts"

/** The limit that was reached, by the name of its option, or the server's. */
export interface Limit {
  readonly name: "maxConnections" | "maxConnectionsPerUser" | "maxConnectionsService" | "server" | "role"
  readonly value: number
}

/** Returns the server's limit that refused a login: that of the server, or the role's `CONNECTION LIMIT`. */
export const refusedBy = (error: SqlError.SqlError): "server" | "role" | undefined => {
  if (codeOf(error) !== "53300") return undefined
  const { cause } = error.reason
  // The message may be in any language; this is the function of Postgres that checks the role.
  const byRole = Predicate.hasProperty(cause, "routine") && cause.routine === "InitializeSessionUserId"
  return byRole ? "role" : "server"
}

const exhausted = (message: string) => unavailable(new PoolExhaustedError({ message }))

export const timedOut = (waited: Duration.Duration, limit: Limit) =>
  exhausted(`No database connection became free within ${Duration.format(waited)}: ${advice(limit)}`)

const advice = ({ name, value }: Limit) => {
  switch (name) {
    case "server":
      return `the database allows this process ${value} connections now, because its other clients use the rest. Raise the limit of the database, or close connections of the other clients`
    case "role":
      return `the database allows this role ${value} connections from this process now (its CONNECTION LIMIT). Raise it with ALTER ROLE, or hold connections for less time`
    default:
      return `${name} is ${value}. Raise it, or hold connections for less time`
  }
}

export const stuck = (limit: Limit) =>
  ofHolder(
    exhausted(
      `This call would wait for a connection forever, because the streams, transactions and reserved connections that hold them wait for connections too: ${advice(limit)}, or make the call outside of them`
    )
  )

export const expired = (lifetime: Duration.Duration) =>
  exhausted(
    `The database connection was in use for ${Duration.format(lifetime)} (maxLifetime) and was closed: start again on a new connection`
  )
