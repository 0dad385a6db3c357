import { assert, describe, it } from "@effect/vitest"
import * as Library from "effect-databricks"
import { Cause, Effect, Predicate, Schema } from "effect"
import * as Failure from "../../../src/internal/appkit/failure.ts"

/** The words of Databricks, or for developers, which an end user should not see. */
const message = "x: the table main.hr.pay, set overwrite"

/** The fields of all errors. */
const fields = {
  message,
  path: "/x",
  index: "i",
  endpoint: "e",
  operation: "o",
  scope: "sql",
  statementId: "1",
  workspaceId: "1",
  callerWorkspaceId: "2",
  spaceId: "s",
  conversationId: "c",
  messageId: "m",
  kind: "cut",
  chunks: 0,
  query: "q",
  parameter: "p",
  problem: "missing",
  source: "s",
  jobId: "1",
  metricView: "m"
}

/** Fields that differ in type between the errors. */
const own: Readonly<Record<string, object>> = {
  MessageFailedError: { status: "FAILED" },
  QueryFileError: { problems: [] },
  RunFailedError: { runId: "1", state: { lifeCycleState: "TERMINATED" } },
  StatementGoneError: { state: "EXPIRED" }
}

/** The errors of the library, without those of Lakebase, which no plugin uses. */
const errors = Object.entries(Library)
  .flatMap(([name, module]) =>
    Predicate.isObject(module) && !name.startsWith("Lakebase") ? Object.values(module) : []
  )
  .filter((value): value is new (fields: object) => Error & { readonly _tag: string } =>
    Boolean(Predicate.isFunction(value) && Schema.isSchema(value) && value.prototype instanceof Error)
  )
  .filter(({ name }) => name !== "DatabricksError")
  .map((Constructor) => new Constructor({ ...fields, ...own[Constructor.name] }))

const isReason = Schema.is(Library.DatabricksError.Reason)

/** Mistakes in the request, and its sender: the message names the parameter, path, key or header. */
const ownWords = new Set([
  "AuthenticationError",
  "IdentityMismatchError",
  "InvalidPathError",
  "JobParametersError",
  "MetricRequestError",
  "QueryParameterError",
  "SqlParameterError",
  "UnknownMetricViewError",
  "UnknownQueryError"
])

/** Errors of the start, of calls that no plugin makes, and of the application's code, which its log explains. */
const masked = new Set([
  "MetricDefinitionError",
  "QueryFileError",
  "QueryOutdatedError",
  "RowDecodeError",
  "RunFailedError",
  "ServiceContextError"
])

const told = (error: unknown) =>
  Effect.map(Failure.report("test", Cause.fail(error)), ({ body, failure }) => ({ ...body, status: failure.status }))

const databricks = (reason: object, context: "service" | "user" = "user") =>
  new Library.DatabricksError.DatabricksError({ context, reason: reason as Library.DatabricksError.Reason })

describe("appkit's failure.report", () => {
  it.effect("has a sentence for the end user for every error of the library that reaches a plugin", () =>
    Effect.gen(function* () {
      assert.isAbove(errors.length, 35)
      for (const error of errors) {
        const { error: text } = yield* told(isReason(error) ? databricks(error) : error)
        if (ownWords.has(error._tag)) assert.strictEqual(text, message, error._tag)
        else if (masked.has(error._tag))
          assert.strictEqual(text, "The server could not answer this request", error._tag)
        else {
          assert.notInclude([message, "The server could not answer this request"], text, error._tag)
          assert.match(text, /^[A-Z][^.]{10,110}$/, error._tag)
        }
      }
    })
  )

  it.effect("says that the app lacks a permission, if it was refused as the app", () =>
    Effect.gen(function* () {
      const { MissingScopeError, PermissionDeniedError } = Library.DatabricksError
      for (const reason of [new PermissionDeniedError({ message }), new MissingScopeError({ message, scope: "sql" })]) {
        assert.deepInclude(yield* told(databricks(reason, "service")), {
          status: 500,
          error: "This app does not have the permission for this: tell its owner"
        })
      }
      const { error, status } = yield* told(databricks(new PermissionDeniedError({ message })))
      assert.deepStrictEqual([status, error], [403, "You do not have the permission for this"])
    })
  )

  it.effect("says of a statement that was refused, or found no warehouse, more than that it failed", () =>
    Effect.gen(function* () {
      const { StatementFailedError } = Library.DatabricksError
      const failed = (more: object) => new StatementFailedError({ message, statementId: "1", ...more })
      for (const [more, status, error] of [
        [{ sqlState: "42501" }, 403, "You do not have the permission for this"],
        [{ readOnly: true, errorCode: "RESOURCE_EXHAUSTED" }, 503, "Databricks is not available: try again soon"],
        [{ sqlState: "42703" }, 500, "The query failed"]
      ] as const) {
        assert.deepInclude(yield* told(databricks(failed(more))), { status, error })
      }
    })
  )
})
