import { assert, describe, it } from "@effect/vitest"
import { DatabricksError, HttpFailure, Lakebase, ServiceContext } from "effect-databricks"
import { Cause, Data, Duration, Effect, Schema } from "effect"
import { SqlError } from "effect/sql"

class Out extends Schema.TaggedError<Out>()("Out", { left: Schema.Int }, { httpApiStatus: 410 }) {}

class Plain extends Data.TaggedError("Plain")<{ readonly message: string }> {}

const connecting = (cause: Error) =>
  new SqlError.ConnectionError({ cause, message: "PgConnection: Failed to connect", operation: "connect" })
const said = (code: string) => ({ cause: Object.assign(new Error("m"), { code }), message: "Query failed" })

describe("HttpFailure", () => {
  const of = (error: unknown) => HttpFailure.fromError(error, { development: false })

  const reasons: ReadonlyArray<[DatabricksError.Reason, number]> = [
    [new DatabricksError.InvalidCredentialError({ message: "m" }), 401],
    [new DatabricksError.MissingScopeError({ message: "m", scope: "sql" }), 403],
    [new DatabricksError.PermissionDeniedError({ message: "m" }), 403],
    [new DatabricksError.NotFoundError({ message: "m" }), 404],
    [new DatabricksError.InvalidRequestError({ message: "m" }), 400],
    [new DatabricksError.RateLimitedError({ message: "m" }), 429],
    [new DatabricksError.UnavailableError({ message: "m" }), 503],
    [new DatabricksError.ConnectionError({ message: "m" }), 503],
    [new DatabricksError.InvalidResponseError({ message: "m" }), 502],
    [new DatabricksError.WorkspaceFailedError({ message: "m" }), 502],
    [new DatabricksError.UnknownWarehouseError({ message: "m" }), 500],
    [new DatabricksError.StatementFailedError({ message: "m", statementId: "1" }), 500],
    [new DatabricksError.StatementFailedError({ message: "m", statementId: "1", sqlState: "22P02" }), 400],
    [new DatabricksError.StatementFailedError({ message: "m", statementId: "1", sqlState: "42601" }), 500],
    [new DatabricksError.StatementFailedError({ message: "m", statementId: "1", sqlState: "42501" }), 403],
    [new DatabricksError.StatementFailedError({ message: "m", statementId: "1", sqlState: "XX000" }), 500],
    [new DatabricksError.StatementGoneError({ message: "m", statementId: "1", state: "CLOSED" }), 409],
    [new DatabricksError.WorkspaceMismatchError({ message: "m", callerWorkspaceId: "1", workspaceId: "2" }), 500]
  ]

  const named = reasons.map(([reason, status]) => {
    const name = "sqlState" in reason ? `${reason._tag} of SQLSTATE ${reason.sqlState}` : reason._tag
    return [name, status, reason] as const
  })

  it.each(named)("maps %s to %i", (_name, status, reason) => {
    const failure = of(DatabricksError.make(reason))
    assert.strictEqual(failure.status, status)
    assert.deepStrictEqual(failure.body, { _tag: reason._tag, message: status < 500 ? "m" : "Server error" })
  })

  const masked = named.map(([name, status, reason]) => {
    return [name, status === 401 || status === 403 ? 500 : status, reason] as const
  })

  it.each(masked)("maps %s of the service principal to %i", (_name, status, reason) => {
    const failure = of(new DatabricksError.DatabricksError({ reason, context: "service" }))
    assert.strictEqual(failure.status, status)
    assert.strictEqual(failure.body.message, status < 500 ? "m" : "Server error")
  })

  const sqlErrors: ReadonlyArray<[string, SqlError.SqlErrorReason, number]> = [
    ["an exhausted pool", connecting(new Lakebase.PoolExhaustedError({ message: "m" })), 503],
    ["a refused login", connecting(new Lakebase.LoginError({ message: "m" })), 401],
    ["a missing role", connecting(new Lakebase.MissingRoleError({ message: "m", role: "r" })), 403],
    [
      "a token without its scope",
      connecting(DatabricksError.make(new DatabricksError.MissingScopeError({ message: "m", scope: "s" }))),
      403
    ],
    [
      "a token request over its rate limit",
      connecting(DatabricksError.make(new DatabricksError.RateLimitedError({ message: "m" }))),
      429
    ],
    ["a reset connection", connecting(Object.assign(new Error("m"), { code: "ECONNRESET" })), 503],
    ["a server that shuts down", new SqlError.UnknownError(said("57P01")), 503],
    ["a duplicate row", new SqlError.UniqueViolation({ ...said("23505"), constraint: "c" }), 409],
    ["a violated foreign key", new SqlError.ConstraintError(said("23503")), 409],
    ["a violated check", new SqlError.ConstraintError(said("23514")), 400],
    ["a serialization failure", new SqlError.SerializationError(said("40001")), 409],
    ["a deadlock", new SqlError.DeadlockError(said("40P01")), 409],
    ["a missing permission", new SqlError.AuthorizationError(said("42501")), 403],
    ["an invalid value", new SqlError.UnknownError(said("22P02")), 400],
    ["a syntax error", new SqlError.SqlSyntaxError(said("42601")), 500],
    ["an internal error of Postgres", new SqlError.UnknownError(said("XX000")), 500]
  ]

  it.each(sqlErrors)("maps a SqlError for $0 to $2", (_name, reason, status) => {
    const failure = of(new SqlError.SqlError({ reason }))
    assert.strictEqual(failure.status, status)
    assert.strictEqual(failure.body.message, status < 500 ? "m" : "Server error")
    const { headers } = HttpFailure.toResponse(failure)
    if (reason._tag === "ConnectionError" && status === 503) assert.strictEqual(headers["retry-after"], "1")
  })

  it("maps a SchemaError to 500, and to 400 under orBadRequest", async () => {
    const wrong = Schema.decodeUnknownEffect(Schema.Struct({ amount: Schema.Int }))({ amount: "one" })
    const error = await Effect.runPromise(Effect.flip(wrong))
    assert.deepInclude(of(error), { status: 500, body: { _tag: "SchemaError", message: "Server error" } })
    const refused = await Effect.runPromise(Effect.flip(HttpFailure.orBadRequest(wrong)))
    assert.deepInclude(refused, {
      status: 400,
      body: { _tag: "BadRequest", message: "amount: Expected number" }
    })
    const other = Effect.fail(new Plain({ message: "m" }))
    assert.strictEqual((await Effect.runPromise(Effect.flip(HttpFailure.orBadRequest(other))))._tag, "Plain")
  })

  it("tags the body of a failed database login with its cause", () => {
    const reason = connecting(new Lakebase.MissingRoleError({ message: "m", role: "r" }))
    assert.strictEqual(of(new SqlError.SqlError({ reason })).body._tag, "MissingRoleError")
  })

  it("maps an error to its declared status, and any other value to 500", () => {
    assert.strictEqual(of(new ServiceContext.ServiceContextError({ message: "m" })).status, 500)
    assert.deepInclude(of(new Out({ left: 1 })), { status: 410, body: { _tag: "Out", message: "The request failed" } })
    assert.deepInclude(of(new Plain({ message: "m" })), {
      status: 500,
      body: { _tag: "Plain", message: "Server error" }
    })
    for (const nothing of [undefined, null, "text", 5, {}]) assert.strictEqual(of(nothing).status, 500)
  })

  it("cuts the message to one line of at most 501 characters", () => {
    const message = `No such table\n== SQL ==\nSELECT secret FROM t\n^^^`
    const error = DatabricksError.make(new DatabricksError.InvalidRequestError({ message }))
    assert.strictEqual(of(error).body.message, "No such table")
    const long = DatabricksError.make(new DatabricksError.InvalidRequestError({ message: "x".repeat(9_999) }))
    assert.strictEqual(of(long).body.message.length, 501)
  })

  it("rounds Retry-After up to whole seconds", () => {
    const retryAfter = Duration.millis(1200)
    const error = DatabricksError.make(new DatabricksError.RateLimitedError({ message: "m", retryAfter }))
    assert.strictEqual(HttpFailure.toResponse(of(error)).headers["retry-after"], "2")
  })

  it("prefers the error of a cause to its defect, and tags an interruption as Interrupted", () => {
    const options = { development: false }
    const error = DatabricksError.make(new DatabricksError.NotFoundError({ message: "m" }))
    const both = Cause.combine(Cause.die(new Error("bug")), Cause.fail(error))
    assert.strictEqual(HttpFailure.fromCause(both, options).status, 404)
    assert.strictEqual(HttpFailure.fromCause(Cause.die(error), options).status, 500)
    assert.strictEqual(HttpFailure.fromCause(Cause.interrupt(1), options).body._tag, "Interrupted")
  })
})
