import { assert, describe, it } from "@effect/vitest"
import { DatabricksError, HttpFailure, ServerSentEvents } from "effect-databricks"
import { TestContext } from "effect-databricks/testing"
import { Cause, Effect, Schema, Stream } from "effect"
import { SqlError } from "effect/sql"
import { reasons } from "../../../src/internal/failures/httpStatus.ts"
import { type Row, rowOf, table } from "../../../src/internal/failures/sqlState.ts"
import * as Statement from "../../../src/internal/failures/statement.ts"
import { sanitized } from "../../../src/internal/lakebase/failure.ts"
import { fromAnswer } from "../../../src/internal/workspace/answer.ts"
import { errcodes } from "../../fixtures/errcodes.ts"
import { eventsOf } from "../../fixtures/sse.ts"

const secret = "what only a developer may read"

const Digit = Schema.Literals([..."0123456789ABCDEFKLNPVXZ"])
const Class = Schema.Literals(Array.from(table.keys(), (key) => key.slice(0, 2)))
const SqlState = Schema.Union([
  Schema.Literals(errcodes),
  Schema.TemplateLiteral([Class, Digit, Digit, Schema.Literals(["0", "7"])]),
  Schema.TemplateLiteral([Digit, Digit, Digit, Digit, Schema.Literals(["0", "7"])])
])

/** As the driver makes it, whatever reason it has for the code. */
const said = (code: string, Reason: new (props: { cause: unknown; message: string }) => SqlError.SqlErrorReason) =>
  new SqlError.SqlError({
    reason: new Reason({
      cause: Object.assign(new Error(secret), { code, severity: "ERROR" }),
      message: "Query failed"
    })
  })

const drivers = {
  UnknownError: SqlError.UnknownError,
  ConnectionError: SqlError.ConnectionError,
  SqlSyntaxError: SqlError.SqlSyntaxError,
  ConstraintError: SqlError.ConstraintError,
  StatementTimeoutError: SqlError.StatementTimeoutError,
  SerializationError: SqlError.SerializationError
}

/** The last event of a stream that fails with this, in production. */
const eventOf = (error: unknown) =>
  Effect.gen(function* () {
    const { body } = yield* ServerSentEvents.toResponse(Stream.fail(error))
    assert(body._tag === "Stream")
    const text = yield* Stream.mkString(Stream.decodeText(body.stream))
    return eventsOf(text).at(-1)?.data as typeof ServerSentEvents.ErrorData.Type
  }).pipe(Effect.provide(TestContext.layer({ development: false })))

const codes: { readonly [status: number]: ServerSentEvents.ErrorCode } = {
  400: "INVALID_REQUEST",
  401: "STREAM_FORBIDDEN",
  403: "STREAM_FORBIDDEN",
  404: "INVALID_REQUEST",
  429: "TEMPORARY_UNAVAILABLE",
  500: "INTERNAL_ERROR",
  502: "UPSTREAM_ERROR",
  503: "TEMPORARY_UNAVAILABLE",
  504: "TIMEOUT"
}

/** What a client learns of a failure: all of it from its row. */
const agrees = (error: unknown, { isRetryable, status }: Pick<Row, "isRetryable" | "status">) =>
  Effect.gen(function* () {
    const failure = HttpFailure.fromError(error, { development: false })
    assert.strictEqual(failure.status, status)
    assert.strictEqual(failure.body.message, status < 500 ? secret : "Server error")
    const { headers } = HttpFailure.toResponse(failure)
    assert.strictEqual("retry-after" in headers, isRetryable && (status === 429 || status === 503))
    const event = yield* eventOf(error)
    assert.strictEqual(event.error, failure.body.message)
    const code = status === 409 ? (isRetryable ? "TEMPORARY_UNAVAILABLE" : "INVALID_REQUEST") : codes[status]
    assert.strictEqual(event.code, code)
    const isTemporary = ["TEMPORARY_UNAVAILABLE", "TIMEOUT"].includes(event.code)
    assert.strictEqual(isTemporary, isRetryable)
  })

describe("The table of SQLSTATEs", () => {
  it("has a row for every class that Postgres has", () => {
    assert.isAbove(errcodes.length, 240)
    for (const code of errcodes) assert.isTrue(table.has(code.slice(0, 2)), code)
  })

  it.effect.prop(
    "makes sanitized, HttpFailure and ServerSentEvents agree on a statement in Lakebase",
    {
      code: SqlState,
      driver: Schema.Literals(["UnknownError", "ConnectionError", "SqlSyntaxError", "ConstraintError"])
    },
    ({ code, driver }) => {
      const row = rowOf(code)
      const error = sanitized(said(code, drivers[driver]))
      assert.strictEqual(error.isRetryable, row.isRetryable)
      return agrees(error, row)
    }
  )

  it.effect.prop(
    "makes HttpFailure and ServerSentEvents agree on a statement on a warehouse",
    { code: SqlState },
    ({ code }) => {
      const reason = new DatabricksError.StatementFailedError({ message: secret, statementId: "1", sqlState: code })
      return agrees(DatabricksError.make(reason), rowOf(code))
    }
  )

  it.effect.prop(
    "makes a wrong value a mistake of the application where the statement has no bound values",
    { code: SqlState, bound: Schema.Literals([0, 1, 7]) },
    ({ bound, code }) =>
      Effect.gen(function* () {
        const reason = new DatabricksError.StatementFailedError({ message: secret, statementId: "1", sqlState: code })
        for (const error of [DatabricksError.make(reason), sanitized(said(code, SqlError.UnknownError))]) {
          const failed = yield* Effect.flip(Statement.failed(error, "SELECT 1", bound))
          const row = rowOf(code)
          yield* agrees(failed, bound === 0 && code.startsWith("22") ? { ...row, status: 500 } : row)
        }
      })
  )

  it.prop(
    "gives the reason of a SqlError without a SQLSTATE the row that it stands for",
    {
      name: Schema.Literals(["ConnectionError", "ConstraintError", "StatementTimeoutError", "SerializationError"])
    },
    ({ name }) => {
      const error = new SqlError.SqlError({ reason: new drivers[name]({ cause: undefined, message: secret }) })
      const statuses = {
        ConnectionError: 503,
        ConstraintError: 400,
        StatementTimeoutError: 504,
        SerializationError: 409
      }
      const failure = HttpFailure.fromCause(Cause.fail(error), { development: true })
      assert.strictEqual(failure.status, statuses[name])
      assert.strictEqual(failure.isRetryable, error.isRetryable)
    }
  )

  it("never lends a connection again after a code that ends it", () => {
    const ends = errcodes.filter((code) => !rowOf(code).keepsConnection)
    assert.deepStrictEqual(
      ends.filter((code) => !code.startsWith("08")),
      ["25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"]
    )
    assert.isTrue(ends.every((code) => rowOf(code).isRetryable))
  })
})

describe("The table of HTTP statuses", () => {
  it.effect.prop(
    "makes HttpFailure and ServerSentEvents agree on any answer of the workspace",
    { status: Schema.Int.check(Schema.isBetween({ minimum: 300, maximum: 599 })) },
    ({ status }) =>
      Effect.gen(function* () {
        const error = fromAnswer({ endpoint: "GET /x", status, headers: {}, body: "" })
        const row = reasons[error.reason._tag]
        assert.strictEqual(error.isRetryable, row.isRetryable)
        const failure = HttpFailure.fromError(error, { development: false })
        assert.strictEqual(failure.status, row.status)
        assert.strictEqual((yield* eventOf(error)).code, codes[row.status])
      })
  )
})
