/** Checks a user's token, as the proxy of Databricks Apps forwards it: its user and its scopes. */
import { Effect, Option, Redacted, Result, Schema } from "effect"
import { Base64Url } from "effect/encoding"
import { HttpClientRequest } from "effect/http"
import type { Caller } from "../../Caller.ts"
import { runAs } from "../../ExecutionContext.ts"
import * as ForwardedHeaders from "../../ForwardedHeaders.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import { WorkspaceClient } from "../../WorkspaceClient.ts"
import type { Variables } from "./environment.ts"
import type { Checked } from "./examine.ts"
import { failed, ok, skipped, warning } from "./finding.ts"
import { isConfigured as hasDatabase } from "./lakebase.ts"

const check = "token"

export const examine = (token: Option.Option<Redacted.Redacted>, variables: Variables): Checked =>
  Option.match(token, { onNone: () => Effect.succeed(absent), onSome: (token) => examineToken(token, variables) })

const absent = skipped(check, "DATABRICKS_USER_TOKEN is not set: set it to a user's token to check its scopes")

const examineToken = (token: Redacted.Redacted, variables: Variables): Checked =>
  Effect.gen(function* () {
    const { identityVerifier, warehouseId } = yield* ServiceContext
    const headers = yield* ForwardedHeaders.decode({ "x-forwarded-access-token": Redacted.value(token) })
    if (!(headers instanceof ForwardedHeaders.WithToken))
      return failed(check, "The token is blank: set DATABRICKS_USER_TOKEN to a user's token")
    const user = yield* identityVerifier.verify(headers)
    const granted = yield* scopesOf(user, token, variables)
    const having = (wanted: boolean | undefined) => names.filter((_, index) => granted[index] === wanted)
    const needed = new Set([Option.isSome(warehouseId) ? "sql" : "", hasDatabase(variables) ? "postgres" : ""])
    const [present, missing, unknown] = [having(true), having(false), having(undefined)]
    const lacking = missing.filter((scope) => needed.has(scope))
    const says = [
      `it has ${present.join(", ") || "none of them"}`,
      ...(missing.length > 0 ? [`lacks ${missing.join(", ")}`] : []),
      ...(unknown.length > 0 ? [`not known: ${unknown.join(", ")}`] : [])
    ].join("; ")
    return [
      ok(check, `of ${user.userName} (id ${user.scimId})`),
      lacking.length > 0
        ? failed(
            "scopes",
            `${says}. This environment needs ${lacking.join(" and ")}: add it to the app's user_api_scopes, and sign in to the app again`
          )
        : (unknown.length > 0 ? warning : ok)("scopes", says)
    ]
  }).pipe(Effect.catch((error) => Effect.succeed(failed(check, error.message))))

/** The cheapest request of each scope. A refusal for another reason proves the scope. */
const probes = (endpoint: string | undefined) => ({
  sql: HttpClientRequest.get("/api/2.0/sql/warehouses?page_size=1"),
  postgres:
    endpoint === undefined
      ? HttpClientRequest.get("/api/2.0/postgres/projects?page_size=1")
      : HttpClientRequest.post("/api/2.0/postgres/credentials").pipe(HttpClientRequest.bodyJsonUnsafe({ endpoint })),
  genie: HttpClientRequest.get("/api/2.0/genie/spaces?page_size=1"),
  files: HttpClientRequest.get("/api/2.0/fs/directories/Volumes/effect-databricks/doctor/none"),
  "model-serving": HttpClientRequest.get("/api/2.0/serving-endpoints"),
  "vector-search": HttpClientRequest.get("/api/2.0/vector-search/endpoints")
})

const names = Object.keys(probes(undefined))

/** Returns whether each scope is granted, by the token's claims or else by requests; `undefined` is unknown. */
const scopesOf = Effect.fnUntraced(function* (user: Caller, token: Redacted.Redacted, variables: Variables) {
  const claimed = scopesIn(Redacted.value(token))
  if (claimed !== undefined) return names.map((name) => claimed.has(name) || claimed.has("all-apis"))
  const { request } = yield* WorkspaceClient
  return yield* Effect.forEach(
    Object.values(probes(variables.valueOf("LAKEBASE_ENDPOINT"))),
    (probe) =>
      runAs(request(probe, { totalTimeout: "10 seconds" }), user).pipe(
        Effect.match({
          onSuccess: () => true,
          onFailure: (error) =>
            error._tag !== "DatabricksError" || error.isRetryable
              ? undefined
              : error.reason._tag !== "MissingScopeError"
        })
      ),
    { concurrency: "unbounded" }
  )
})

const Claims = Schema.fromJsonString(
  Schema.Struct({ scope: Schema.Union([Schema.String, Schema.Array(Schema.String)]) })
)

/** Returns the scopes in the claims of a JWT, or `undefined` if it has none. */
export const scopesIn = (token: string): ReadonlySet<string> | undefined =>
  Base64Url.decodeString(token.split(".")[1] ?? "").pipe(
    Result.getSuccess,
    Option.flatMap(Schema.decodeUnknownOption(Claims)),
    Option.map(({ scope }) => new Set(typeof scope === "string" ? scope.split(/\s+/) : scope)),
    Option.getOrUndefined
  )
