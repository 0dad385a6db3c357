/** The routes of SCIM Me, OAuth for machines, and database credentials. */
import { Duration, Effect, Redacted, Schema } from "effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Directory } from "./directory.ts"
import { allScopes, type Principal } from "./principals.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated, body, currentUser } from "../http/requests.ts"

export interface Options {
  readonly directory: Directory
  readonly workspaceId: string
  readonly endpoint: string
  readonly now: () => number
  readonly origin: () => string
  readonly serviceTokenTtl: Duration.Duration
  readonly credentialScope: string
}

const scimUser = (principal: Principal) => ({
  schemas: ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:workspace:2.0:User"],
  id: principal.id,
  userName: principal.userName,
  displayName: principal.displayName,
  active: principal.active,
  ...(principal.userName.includes("@") && {
    emails: [{ type: "work", value: principal.userName, primary: true }],
    name: { givenName: principal.displayName }
  }),
  groups: [{ display: "users", type: "direct", value: "100000000000001", $ref: "Groups/100000000000001" }]
})

const metadata = (origin: string) => ({
  issuer: `${origin}/oidc`,
  authorization_endpoint: `${origin}/oidc/v1/authorize`,
  token_endpoint: `${origin}/oidc/v1/token`,
  jwks_uri: `${origin}/oidc/jwks.json`,
  response_types_supported: ["code"],
  grant_types_supported: ["client_credentials", "authorization_code", "refresh_token"],
  token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "none"],
  scopes_supported: [allScopes, "offline_access"],
  subject_types_supported: ["public"],
  id_token_signing_alg_values_supported: ["RS256"],
  code_challenge_methods_supported: ["S256"]
})

const basic = (header: string | undefined) => {
  const encoded = /^Basic\s+(\S+)$/i.exec(header ?? "")?.[1]
  if (encoded === undefined) return undefined
  const [id = "", ...secret] = Buffer.from(encoded, "base64").toString("utf8").split(":")
  // RFC 6749 has the client form-encode both halves; a UUID and a hexadecimal secret look the same either way.
  return { id, secret: secret.join(":") }
}

// The documented bounds of a database credential's `ttl`, and its default.
const minTtlSeconds = 300
const maxTtlSeconds = 3600

const PostgresCredential = Schema.Struct({
  endpoint: Schema.String,
  ttl: Schema.optional(Schema.String)
})

const DatabaseCredential = Schema.Struct({
  instance_names: Schema.Array(Schema.String)
})

export const addTo = (router: HttpRouter.HttpRouter, options: Options) =>
  Effect.gen(function* () {
    const add = adder(router)
    const { directory } = options
    const guarded = authenticated(directory)

    const me = guarded(currentUser, (caller) =>
      Effect.succeed(
        HttpServerResponse.jsonUnsafe(scimUser(caller), { headers: { "x-databricks-org-id": options.workspaceId } })
      )
    )

    const token = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const form = yield* Effect.mapError(request.urlParamsBody, () =>
        Replies.oauthError(400, "invalid_request", "The body is not a form")
      )
      const field = (name: string) => {
        const value = form.params.find(([key]) => key === name)?.[1]
        return Redacted.isRedacted(value) ? Redacted.value(value) : value
      }
      const client = basic(request.headers["authorization"]) ?? {
        id: field("client_id") ?? "",
        secret: field("client_secret") ?? ""
      }
      if (!directory.isClient(client.id, client.secret)) {
        return yield* Replies.oauthError(401, "invalid_client", "Client authentication failed")
      }
      if (field("grant_type") !== "client_credentials") {
        return yield* Replies.oauthError(400, "unsupported_grant_type", "Only client_credentials is supported here")
      }
      const scope = field("scope") ?? allScopes
      const minted = directory.mint(directory.service, Duration.toMillis(options.serviceTokenTtl), scope.split(/[ +]/))
      return HttpServerResponse.jsonUnsafe({
        access_token: Redacted.value(minted),
        token_type: "Bearer",
        expires_in: Math.floor(Duration.toSeconds(options.serviceTokenTtl)),
        scope
      })
    })

    // A database credential is valid for Postgres only.
    const credential = (caller: Principal, seconds: number) => ({
      token: Redacted.value(directory.mint(caller, seconds * 1000, [])),
      expires: new Date(options.now() + seconds * 1000).toISOString()
    })

    const postgresCredential = guarded(options.credentialScope, (caller) =>
      Effect.gen(function* () {
        const { endpoint, ttl = `${maxTtlSeconds}s` } = yield* body(PostgresCredential)
        if (endpoint !== options.endpoint) return yield* Replies.endpointUnknown(endpoint)
        const seconds = /^\d+s$/.test(ttl) ? Number.parseInt(ttl) : Number.NaN
        if (!(seconds >= minTtlSeconds && seconds <= maxTtlSeconds)) {
          return yield* Replies.invalidParameter(`ttl must be between ${minTtlSeconds}s and ${maxTtlSeconds}s.`)
        }
        const { token, expires } = credential(caller, seconds)
        return HttpServerResponse.jsonUnsafe({ token, expire_time: expires })
      })
    )

    const databaseCredential = guarded(options.credentialScope, (caller) =>
      Effect.gen(function* () {
        yield* body(DatabaseCredential)
        const { token, expires } = credential(caller, maxTtlSeconds)
        return HttpServerResponse.jsonUnsafe({ token, expiration_time: expires })
      })
    )

    const discovery = Effect.sync(() => HttpServerResponse.jsonUnsafe(metadata(options.origin())))
    yield* add("GET", "/oidc/.well-known/oauth-authorization-server", discovery)
    yield* add("GET", "/oidc/.well-known/openid-configuration", discovery)
    yield* add("POST", "/oidc/v1/token", token)
    yield* add("GET", "/api/2.0/preview/scim/v2/Me", me)
    yield* add("POST", "/api/2.0/postgres/credentials", postgresCredential)
    yield* add("POST", "/api/2.0/database/credentials", databaseCredential)
  })
