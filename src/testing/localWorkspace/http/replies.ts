/** The responses of Databricks that the reference does not confirm, in one place, so that each is corrected once. */
import { Data } from "effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** A response that ends the handling of a request. */
export class Refused extends Data.TaggedError("Refused")<{
  readonly response: HttpServerResponse.HttpServerResponse
}> {}

const refuse = (status: number, body: unknown, headers?: Record<string, string>) =>
  new Refused({ response: HttpServerResponse.jsonUnsafe(body, { status, ...(headers && { headers }) }) })

const apiError = (status: number, error_code: string, message: string, reason?: string) => {
  const info = { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason }
  return refuse(status, { error_code, message, details: reason === undefined ? [] : [info] })
}

export const credentialMissing = refuse(
  401,
  { error_code: 401, message: "Credential was not sent or was of an unsupported type for this API." },
  { "www-authenticate": 'Bearer realm="DatabricksRealm"' }
)

export const tokenRejected = refuse(403, { error_code: 403, message: "Invalid access token." })

// Both forms occur; the SQL API is known to use the plain one.
export const scopeMissing = (scope: string) =>
  scope === "sql"
    ? new Refused({
        response: HttpServerResponse.text(`Invalid scope, required scopes: ${scope}`, { status: 403 })
      })
    : refuse(403, { error_code: 403, message: `Provided OAuth token does not have required scopes: ${scope}` })

export const endpointNotFound = (method: string, path: string) =>
  refuse(404, { error_code: "ENDPOINT_NOT_FOUND", message: `No API found for '${method} ${path}'` })

export const malformed = (message: string) => apiError(400, "MALFORMED_REQUEST", message)

export const invalidParameter = (message: string) => apiError(400, "INVALID_PARAMETER_VALUE", message)

export const unknownWarehouse = (id: string) => invalidParameter(`${id} is not a valid endpoint id.`)

export const warehouseNotFound = (id: string) =>
  apiError(404, "RESOURCE_DOES_NOT_EXIST", `SQL warehouse ${id} does not exist.`)

// Inferred, for each way to use a warehouse.
export const warehouseForbidden = (id: string) =>
  apiError(403, "PERMISSION_DENIED", `You do not have permission to use the SQL warehouse ${id}.`)

export const statementNotFound = (id: string) => apiError(404, "NOT_FOUND", `The statement ${id} was not found.`)

// Both inferred: a workspace may also answer a missing permission with RESOURCE_DOES_NOT_EXIST.
export const spaceForbidden = apiError(
  403,
  "PERMISSION_DENIED",
  'You need "Can Run" permission to perform this action.'
)

export const spaceNotFound = (id: string) =>
  apiError(404, "RESOURCE_DOES_NOT_EXIST", `Unable to get space [${id}]. It does not exist.`)

// Inferred, also for a result that has expired.
export const genieNotFound = (what: string, id: string) =>
  apiError(404, "RESOURCE_DOES_NOT_EXIST", `${what} ${id} does not exist.`)

export const chunkNotFound = (index: number) => invalidParameter(`Chunk index ${index} is out of range.`)

export const inlineOnlyJson = invalidParameter(
  "The format field must be JSON_ARRAY when the disposition field is INLINE."
)

export const inlineOnlyArrow = invalidParameter("Inline disposition only supports ARROW_STREAM format")

// External links point to a cloud's storage, which responds in XML.
const storageError = (status: number, code: string, message: string) =>
  new Refused({
    response: HttpServerResponse.text(`<Error><Code>${code}</Code><Message>${message}</Message></Error>`, {
      status,
      contentType: "application/xml"
    })
  })

export const linkWithCredential = storageError(400, "InvalidArgument", "Only one auth mechanism allowed")

export const linkNotSigned = storageError(
  403,
  "SignatureDoesNotMatch",
  "The request signature we calculated does not match the signature you provided."
)

export const linkExpired = storageError(403, "AccessDenied", "Request has expired")

export const linkGone = storageError(404, "NoSuchKey", "The specified key does not exist.")

export const statementNotReady = (id: string, state: string) =>
  invalidParameter(`The statement ${id} has no result: its state is ${state}.`)

export const volumeNotFound = (name: string) => apiError(404, "NOT_FOUND", `Volume '${name}' does not exist.`)

export const volumeDenied = (permission: string, name: string) =>
  apiError(403, "PERMISSION_DENIED", `User does not have ${permission} on Volume '${name}'.`)

export const fileNotFound = (path: string) =>
  apiError(404, "NOT_FOUND", `The file or directory ${path} does not exist.`)

export const fileExists = apiError(409, "ALREADY_EXISTS", "The file being created already exists.")

export const isDirectory = (path: string) => invalidParameter(`${path} is a directory.`)

export const directoryNotEmpty = (path: string) =>
  apiError(400, "INVALID_PARAMETER_VALUE", `The directory ${path} is not empty.`, "FILES_API_DIRECTORY_IS_NOT_EMPTY")

export const invalidPath = (path: string) => invalidParameter(`Invalid path: ${path}`)

export const rangeNotSatisfiable = apiError(416, "INVALID_PARAMETER_VALUE", "The requested range is not satisfiable.")

export const jobNotFound = (id: string) => invalidParameter(`Job ${id} does not exist.`)

export const runNotFound = (id: string) => invalidParameter(`Run ${id} does not exist.`)

export const jobForbidden = (userName: string, permission: string, id: string) =>
  apiError(403, "PERMISSION_DENIED", `User ${userName} does not have ${permission} permissions on job ${id}.`)

export const tokenTooLong = invalidParameter("The idempotency token may have at most 64 characters.")

export const jobParameterUnknown = (name: string) =>
  invalidParameter(`The job parameter ${name} is not defined in the job's settings.`)

export const outputOfManyTasks = invalidParameter(
  "Retrieving the output of runs with multiple tasks is not supported. Please retrieve the output of each individual task run instead."
)

export const endpointUnknown = (endpoint: string) => apiError(404, "NOT_FOUND", `Endpoint ${endpoint} not found.`)

export const servingEndpointNotFound = (name: string) =>
  apiError(404, "RESOURCE_DOES_NOT_EXIST", `The serving endpoint ${name} does not exist.`)

export const servingEndpointForbidden = (name: string) =>
  apiError(403, "PERMISSION_DENIED", `You do not have permission to query the serving endpoint ${name}.`)

export const servedModelNotFound = (name: string) =>
  apiError(404, "RESOURCE_DOES_NOT_EXIST", `The served model ${name} does not exist.`)

export const servingEndpointNotReady = (name: string) =>
  apiError(503, "TEMPORARILY_UNAVAILABLE", `The serving endpoint ${name} is not ready.`)

// Inferred, except for the refusals of a page token and of a sync.
export const indexNotFound = (name: string) =>
  apiError(404, "RESOURCE_DOES_NOT_EXIST", `Vector index ${name} does not exist.`)

export const indexForbidden = (name: string) =>
  apiError(403, "PERMISSION_DENIED", `User does not have SELECT on Table '${name}'.`)

export const indexNotReady = (name: string) => apiError(400, "BAD_REQUEST", `Vector index ${name} is not ready.`)

export const indexIsSyncing = apiError(
  400,
  "BAD_REQUEST",
  "Index is not ready to sync yet. Pipeline is in state RUNNING and needs to be in one of the following states to sync: COMPLETED, FAILED, CANCELED."
)

export const pageTokenInvalid = (token: string) =>
  invalidParameter(`Invalid page token: ${token}, please use the page token returned from previous page.`)

export const oauthError = (status: number, error: string, description: string) =>
  refuse(status, { error, error_description: description })

/** A failed statement, which is still an HTTP 200. */
export interface StatementError {
  readonly error_code: string
  readonly message: string
  readonly sql_state: string
}

export const statementError = (condition: string, message: string, sqlState: string): StatementError => ({
  error_code: "BAD_REQUEST",
  message: `[${condition}] ${message} SQLSTATE: ${sqlState}`,
  sql_state: sqlState
})

export const unboundParameter = (name: string) =>
  statementError(
    "UNBOUND_SQL_PARAMETER",
    `Found the unbound parameter: ${name}. Please, fix \`args\` and provide a mapping of the parameter to either a SQL literal or collection constructor functions.`,
    "42P02"
  )

export const inlineLimitExceeded = (limit: number): StatementError => ({
  error_code: "BAD_REQUEST",
  message: `Inline byte limit exceeded. Statements executed with disposition=INLINE can have a result size of at most ${limit} bytes. Please execute the statement with disposition=EXTERNAL_LINKS if you want to download the full result.`,
  sql_state: "54000"
})

// Postgres has values that Databricks lacks, such as an infinite date.
export const resultNotEncoded = (format: string, reason: string) =>
  statementError("RESULT_NOT_ENCODED", `The result cannot be written as ${format}: ${reason}.`, "22000")

// The error condition and SQLSTATE of Databricks for those of Postgres. A value that cannot be cast fails the
// statement, not the request, whether the cast is a parameter's declared type or part of the SQL.
const conditions: Readonly<Record<string, readonly [condition: string, sqlState: string]>> = {
  "22P02": ["CAST_INVALID_INPUT", "22018"],
  "22007": ["CAST_INVALID_INPUT", "22018"],
  "22008": ["CAST_INVALID_INPUT", "22018"],
  "22003": ["CAST_OVERFLOW", "22003"],
  "22012": ["DIVIDE_BY_ZERO", "22012"],
  "42601": ["PARSE_SYNTAX_ERROR", "42601"],
  "42P01": ["TABLE_OR_VIEW_NOT_FOUND", "42P01"],
  "42P07": ["TABLE_OR_VIEW_ALREADY_EXISTS", "42P07"],
  "42703": ["UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", "42703"],
  "42883": ["UNRESOLVED_ROUTINE", "42883"],
  "3F000": ["SCHEMA_NOT_FOUND", "42704"],
  "42P06": ["SCHEMA_ALREADY_EXISTS", "42P06"],
  "42501": ["INSUFFICIENT_PERMISSIONS", "42501"],
  "23502": ["NOT_NULL_CONSTRAINT_VIOLATION", "23502"],
  "42804": ["DATATYPE_MISMATCH", "42K09"]
}

export const fromPostgres = (code: string, message: string): StatementError => {
  const [condition, sqlState] = conditions[code] ?? ["POSTGRES_ERROR", code]
  return statementError(condition, message, sqlState)
}
