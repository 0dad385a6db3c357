/** How a caller logs in to the database: password → open → retry → explain. */
import { Context, Duration, Effect, Predicate, type Redacted, Schedule, Scope } from "effect"
import type { Reactivity } from "effect/reactivity"
import { SqlError } from "effect/sql"
import type { Caller } from "../../Caller.ts"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { Options } from "../../Lakebase.ts"
import { LoginError, MissingRoleError, PoolExhaustedError } from "../../LakebaseError.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Credentials from "./credentials.ts"
import * as Session from "./driver/session.ts"
import { codeOf, exhausted, failed, unavailable } from "./failure.ts"

export interface Login {
  readonly roleOf: (caller: Caller) => string
  readonly passwordOf: (caller: Caller) => Effect.Effect<Redacted.Redacted, SqlError.SqlError>
  /** Opens a connection of this caller's, within what is left of the acquire timeout. */
  readonly open: (
    caller: Caller,
    within: Duration.Duration
  ) => Effect.Effect<Session.Session, SqlError.SqlError, Scope.Scope>
}

export const make = Effect.fnUntraced(function* (
  target: Session.Target,
  options: Pick<Options, "endpoint" | "password" | "user"> & { readonly acquireTimeout: Duration.Duration },
  send: WorkspaceClient["Service"]["send"]
): Effect.fn.Return<Login, never, Reactivity.Reactivity> {
  const own = yield* Effect.context<Reactivity.Reactivity>()
  const { acquireTimeout, endpoint } = options
  const credentials =
    endpoint === undefined
      ? undefined
      : // A little less than for the connection: a caller who waits in vain for a token is told so.
        yield* Credentials.make(send, endpoint, Duration.times(acquireTimeout, 0.8))

  const roleOf = (caller: Caller) =>
    caller.context === "service" ? (options.user ?? caller.userName) : caller.userName

  const passwordOf = (caller: Caller): Effect.Effect<Redacted.Redacted, SqlError.SqlError> => {
    if (credentials !== undefined) return Effect.mapError(credentials.token(caller), noToken)
    return options.password !== undefined && caller.context === "service"
      ? Effect.succeed(options.password)
      : Effect.fail(nothingToLogInWith)
  }

  const logIn = Effect.fnUntraced(function* (caller: Caller) {
    const scope = yield* Effect.scope
    const password = yield* passwordOf(caller)
    return yield* Session.open(target, { username: roleOf(caller), password }).pipe(
      // A connection keeps the context that it was opened in, where the caller's has their request, with their token.
      Effect.setContext(Context.add(own, Scope.Scope, scope)),
      Effect.tapError((error) =>
        credentials !== undefined && isRefused(error) ? credentials.drop(caller, password) : Effect.void
      )
    )
  })

  const open = (caller: Caller, within: Duration.Duration) =>
    Effect.suspend(() => {
      let last: SqlError.SqlError | undefined
      return logIn(caller).pipe(
        // A token that is refused costs one more, once.
        Effect.catchIf(isRefused, (error) => (credentials === undefined ? Effect.fail(error) : logIn(caller))),
        Effect.tapError((error) => Effect.sync(() => (last = error))),
        // The database has run nothing yet.
        Effect.retry({ schedule: untilItTakesLogins, while: isPassing }),
        Effect.timeoutOrElse({ duration: within, orElse: () => Effect.fail(waitedInVain(last, acquireTimeout)) })
      )
    }).pipe(
      Effect.mapError((error) => explain(error, roleOf(caller))),
      Effect.withSpan("lakebase.connect", {}, { captureStackTrace: false })
    )

  return { roleOf, passwordOf, open }
})

const unauthorized = failed(SqlError.AuthorizationError)
const unauthenticated = failed(SqlError.AuthenticationError)

const nothingToLogInWith = unauthenticated(
  new LoginError({ message: "There is nothing to log in to the database with: set LAKEBASE_ENDPOINT" })
)

const forbidden: ReadonlySet<string> = new Set(["MissingScopeError", "PermissionDeniedError"])

const noToken = (error: DatabricksError) => {
  if (error.reason._tag === "InvalidCredentialError") {
    return unauthenticated(new LoginError({ message: `The database gives no token: ${error.message}` }))
  }
  if (forbidden.has(error.reason._tag)) return unauthorized(error)
  return error.isRetryable ? unavailable(error) : failed(SqlError.UnknownError)(error)
}

const said = ({ reason }: SqlError.SqlError) => (Predicate.isError(reason.cause) ? reason.cause.message : "")

const lacksRole = (error: SqlError.SqlError) =>
  codeOf(error) === "28000" && /role ".*" does not exist/.test(said(error))

const isRefused = (error: SqlError.SqlError) =>
  codeOf(error) === "28P01" || (codeOf(error) === "28000" && !lacksRole(error))

const untilItTakesLogins = Schedule.exponential("50 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(1))))
)

const full = "53300"

const passing = new Set<unknown>([full, "57P03", "57P01", "ECONNREFUSED", "ECONNRESET", "EPIPE"])

/** Whether the database may take the same login in a moment: it is full, wakes up, restarts, or nobody listens. */
const isPassing = (error: SqlError.SqlError) => passing.has(codeOf(error)) || isCutOff(error)

// A server that shuts down may close a connection that it has not let in yet without a word.
const isCutOff = (error: SqlError.SqlError) =>
  error.reason._tag === "ConnectionError" && said(error) === "Connection closed unexpectedly"

/** The failure after all of the acquire timeout; `last` is what the database last said. */
const waitedInVain = (last: SqlError.SqlError | undefined, waited: Duration.Duration) => {
  if (last !== undefined) return codeOf(last) === full ? exhausted(waited) : last
  return unavailable(
    new PoolExhaustedError({
      message: `No database connection opened within ${Duration.format(waited)}: the database does not answer, or too much of that time went by before there was a place for it`
    })
  )
}

const explain = (error: SqlError.SqlError, role: string) => {
  if (lacksRole(error)) {
    return unauthorized(
      new MissingRoleError({
        role,
        message: `The database has no role "${role}": create it with databricks_create_role('${role}', …) and grant it what it needs`
      })
    )
  }
  return isRefused(error)
    ? unauthenticated(
        new LoginError({
          message: `The database refused the login of "${role}" (${said(error)}): its token is expired or was minted for somebody else, or the role does not take tokens`
        })
      )
    : error
}
