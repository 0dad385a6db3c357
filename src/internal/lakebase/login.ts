/** Logs a caller in to the database: password → open → retry → explain. */
import { Context, Duration, Effect, Predicate, type Redacted, Schedule, Scope } from "effect"
import type { Reactivity } from "effect/reactivity"
import { SqlError } from "effect/sql"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { Options } from "../../Lakebase.ts"
import { LoginError, MissingRoleError, PoolExhaustedError } from "../../LakebaseError.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as SqlState from "../failures/sqlState.ts"
import { advice } from "../unreachable.ts"
import * as Credentials from "./credentials.ts"
import * as Session from "./driver/session.ts"
import { codeOf, failed, sanitized, unavailable } from "./failure.ts"

/** The settings of our connections, in the form of `pg`. */
export const startupOptions = Object.entries(Session.settings)
  .map(([name, value]) => `-c ${name}=${value}`)
  .join(" ")

export interface Login {
  readonly roleOf: (caller: Caller) => string
  readonly passwordOf: (caller: Caller) => Effect.Effect<Redacted.Redacted, SqlError.SqlError>
  /**
   * Opens a connection for this caller, within the rest of the acquire timeout. `refused` is the failure if the server
   * has refused the caller before.
   */
  readonly open: (
    caller: Caller,
    within: Duration.Duration,
    refused: Effect.Effect<never, SqlError.SqlError> | undefined
  ) => Effect.Effect<Session.Session, SqlError.SqlError, Scope.Scope>
}

export const make = Effect.fnUntraced(function* (
  target: Session.Target,
  options: Pick<Options, "endpoint" | "password" | "user"> & { readonly acquireTimeout: Duration.Duration },
  send: WorkspaceClient["Service"]["send"]
): Effect.fn.Return<Login, never, Reactivity.Reactivity> {
  const own = yield* Effect.context<Reactivity.Reactivity>()
  const { acquireTimeout, endpoint } = options
  const definitions = { generation: 0 }
  const credentials =
    endpoint === undefined
      ? undefined
      : // A little less than for the connection, so that a wait for a token fails with its own reason.
        yield* Credentials.make(send, endpoint, Duration.times(acquireTimeout, 0.8))

  const roleOf = (caller: Caller) =>
    caller.context === "service" ? (options.user ?? caller.userName) : caller.userName

  const passwordOf = (caller: Caller): Effect.Effect<Redacted.Redacted, SqlError.SqlError> => {
    if (credentials !== undefined)
      return Effect.mapError(credentials.token(caller), (error) => noToken(error, endpoint, caller))
    return options.password !== undefined && caller.context === "service"
      ? Effect.succeed(options.password)
      : Effect.fail(lacksEndpoint)
  }

  const logIn = Effect.fnUntraced(function* (caller: Caller) {
    const scope = yield* Effect.scope
    const password = yield* passwordOf(caller)
    return yield* Session.open(target, { username: roleOf(caller), password }, definitions).pipe(
      // A connection keeps the context in which it opened, and the caller's has the request with the token.
      Effect.setContext(Context.add(own, Scope.Scope, scope)),
      Effect.tapError((error) =>
        credentials !== undefined && isRefused(error) ? credentials.drop(caller, password) : Effect.void
      )
    )
  })

  const open: Login["open"] = (caller, within, refused) =>
    Effect.suspend(() => {
      let last: SqlError.SqlError | undefined
      return logIn(caller).pipe(
        // A refused token is replaced once.
        Effect.catchIf(isRefused, (error) => (credentials === undefined ? Effect.fail(error) : logIn(caller))),
        Effect.tapError((error) => Effect.sync(() => (last = error))),
        // Safe, because the database has not run anything yet.
        Effect.retry({ schedule: backoff, while: isTransient }),
        Effect.timeoutOrElse({
          duration: within,
          orElse: () => (last === undefined ? refused : undefined) ?? Effect.fail(timedOut(last, acquireTimeout))
        })
      )
    }).pipe(
      Effect.mapError((error) => explain(error, roleOf(caller), caller.context, target)),
      Effect.withSpan("lakebase.connect", {}, { captureStackTrace: false })
    )

  return { roleOf, passwordOf, open }
})

const unauthorized = failed(SqlError.AuthorizationError)
const unauthenticated = failed(SqlError.AuthenticationError)

/** A mistake of the application, so that no remedy of the caller helps. */
const misconfigured = failed(SqlError.UnknownError)

const lacksEndpoint = misconfigured(
  new Error(
    "A user cannot log in to the database: LAKEBASE_ENDPOINT is not set, and PGPASSWORD is the service principal's. Set LAKEBASE_ENDPOINT to projects/…/branches/…/endpoints/…"
  )
)

const forbidden: ReadonlySet<string> = new Set(["MissingScopeError", "PermissionDeniedError"])

const noToken = (error: DatabricksError, endpoint: string | undefined, { context }: Caller) => {
  if (error.reason._tag === "NotFoundError") {
    const message = `The workspace has no endpoint ${endpoint} for this caller: check LAKEBASE_ENDPOINT, and that the database is a resource of the app`
    return misconfigured(new Error(message, { cause: error }))
  }
  if (error.reason._tag === "InvalidCredentialError") {
    const remedy = context === "user" ? `. ${remedies.user}` : ""
    return unauthenticated(
      new LoginError({ message: `Lakebase did not issue a database token: ${error.message}${remedy}` })
    )
  }
  if (forbidden.has(error.reason._tag)) return unauthorized(error)
  return error.isRetryable ? unavailable(error) : misconfigured(error)
}

const messageOf = ({ reason }: SqlError.SqlError) => (Predicate.isError(reason.cause) ? reason.cause.message : "")

const lacksRole = (error: SqlError.SqlError) =>
  codeOf(error) === "28000" && /role ".*" does not exist/.test(messageOf(error))

const isRefused = (error: SqlError.SqlError) =>
  codeOf(error) === "28P01" || (codeOf(error) === "28000" && !lacksRole(error))

const backoff = Schedule.exponential("50 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(1))))
)

const transient = new Set<unknown>(["57P03", "57P01", "ECONNREFUSED", "ECONNRESET", "EPIPE"])

/**
 * Whether the database may accept the same login soon: it wakes up, restarts or is not listening. If it is full, the
 * pool decides which call tries again, and when.
 */
const isTransient = (error: SqlError.SqlError) => transient.has(codeOf(error)) || isCutOff(error)

// A server that shuts down may close a connection without a message before it has accepted the login.
const isCutOff = (error: SqlError.SqlError) =>
  error.reason._tag === "ConnectionError" && messageOf(error) === "Connection closed unexpectedly"

/** Returns the failure after the acquire timeout; `last` is the database's last error. */
const timedOut = (last: SqlError.SqlError | undefined, waited: Duration.Duration) => {
  if (last !== undefined) return last
  return unavailable(
    new PoolExhaustedError({
      message: `No database connection opened within ${Duration.format(waited)}: the database does not respond, or the call waited too long for its turn to open one`
    })
  )
}

/** The remedies for a refused login. */
const remedies = {
  user: "Sign in to the app again",
  service: "Unset PGUSER, or set it to the client id of the service principal"
}

const explain = (
  error: SqlError.SqlError,
  role: string,
  context: Caller["context"],
  { database, host, port }: Session.Target
) => {
  if (codeOf(error) === "3D000") {
    return misconfigured(
      new Error(`PGDATABASE is not a database of ${host}, port ${port}: ${database}`, { cause: error.reason.cause })
    )
  }
  if (lacksRole(error)) {
    const kind = role.includes("@") ? "USER" : "SERVICE_PRINCIPAL"
    return unauthorized(
      new MissingRoleError({
        role,
        message: `The database has no role "${role}": create it with "databricks postgres create-role", or in SQL with CREATE EXTENSION IF NOT EXISTS databricks_auth and SELECT databricks_create_role('${role}', '${kind}'), and grant it its privileges`
      })
    )
  }
  if (messageOf(error) === "The server does not support TLS") {
    return unavailable(
      new Error(
        "The database does not speak TLS: check PGHOST and PGPORT, or set PGSSLMODE=disable for a local database"
      )
    )
  }
  const code = codeOf(error)
  if (typeof code === "string" && !SqlState.isPostgresError(error.reason.cause)) {
    const remedy = advice(code, "check PGHOST and PGPORT")
    const message = `The database at ${host}, port ${port}, cannot be reached (${code}): ${remedy}`
    return unavailable(Object.assign(new Error(message, { cause: error.reason.cause }), { code }))
  }
  return isRefused(error)
    ? unauthenticated(
        new LoginError({
          message: `The database refused the login of "${role}" (${messageOf(error)}): its token has expired or was issued for another role, or the role is missing or does not accept tokens. ${remedies[context]}`
        })
      )
    : sanitized(error)
}
