/**
 * OAuth for machines. In the SDK's own implementation requests cannot be interrupted, have no timeout, and are repeated
 * by every concurrent call when a token has expired; and its failures have no codes.
 */
import { Duration, Effect, Exit, Redacted, Schema } from "effect"
import { Base64 } from "effect/encoding"
import { type HttpClient, HttpClientRequest } from "effect/http"
import {
  type DatabricksError,
  InvalidCredentialError,
  InvalidResponseError,
  make as databricksError
} from "../../DatabricksError.ts"
import * as Answer from "./answer.ts"
import { isPrivate } from "./host.ts"
import * as TokenCache from "./tokenCache.ts"
import type { Renewable } from "./renewal.ts"
import * as Retry from "./retry.ts"
import { exchange, json, maxShortAnswer } from "./transport.ts"

interface Client {
  readonly id: string
  readonly secret: Redacted.Redacted
  readonly scopes: ReadonlyArray<string>
}

export const credential = (http: HttpClient.HttpClient, host: string, client: Client): Effect.Effect<Renewable> =>
  Effect.map(
    TokenCache.make<Fetched, DatabricksError>({
      capacity: 1,
      timeToLive: (exit) => (Exit.isSuccess(exit) ? exit.value.timeToLive : Duration.zero)
    }),
    (tokens) => ({
      authorization: Effect.map(tokens.get("token", inTime(signIn(http, host, client))), (_) => _.authorization),
      forget: (refused) => tokens.invalidateWhen("token", ({ authorization }) => authorization === refused)
    })
  )

// As in the SDKs: Azure refuses a token that expires within 30 seconds.
const margin = 40

// For a token without an expiry. One that expires earlier is refused, and replaced.
const defaultTimeToLive = 300

const timeout = Duration.seconds(30)

/** The endpoint of a workspace by Databricks' documentation. A host that refuses there is asked for its own. */
const tokenPath = "/oidc/v1/token"

const discoveryPath = "/oidc/.well-known/oauth-authorization-server"

const decodeDiscovery = json(Schema.Struct({ token_endpoint: Schema.String }), maxShortAnswer)

const decodeToken = json(
  Schema.Struct({
    access_token: Schema.NonEmptyString,
    // Any type, because the token is valid without it.
    expires_in: Schema.optional(Schema.Unknown)
  }),
  maxShortAnswer
)

interface Fetched {
  readonly authorization: Redacted.Redacted
  readonly timeToLive: Duration.Duration
}

// Requesting a token twice does no harm.
const inTime = Retry.inTime(timeout, Retry.repeatable, () =>
  Answer.connection("the service principal's sign-in", "timeout")
)

const fetchToken = (
  http: HttpClient.HttpClient,
  host: string,
  client: Client
): Effect.Effect<Fetched, DatabricksError> => {
  const documented = new URL(tokenPath, host)
  return Effect.catchIf(requestToken(http, documented, client), isRefusal, (refusal) =>
    Effect.flatMap(discover(http, host), (endpoint) =>
      endpoint.href === documented.href ? Effect.fail(refusal) : requestToken(http, endpoint, client)
    )
  )
}

/** Whether the host has answered, and would answer the same again. */
const isRefusal = (error: DatabricksError) => error.status !== undefined && !Retry.mayPass(error)

const requestToken = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  endpoint: URL,
  client: Client
): Effect.fn.Return<Fetched, DatabricksError> {
  const answer = yield* exchange(
    http,
    HttpClientRequest.post(endpoint).pipe(
      HttpClientRequest.bodyUrlParams({ grant_type: "client_credentials", scope: client.scopes.join(" ") })
    ),
    Redacted.make(`Basic ${Base64.encode(`${client.id}:${Redacted.value(client.secret)}`)}`)
  )
  const { access_token, expires_in } = yield* decodeToken(answer)
  return {
    authorization: Redacted.make(`Bearer ${access_token}`, { label: "authorization" }),
    timeToLive: Duration.seconds(lifetimeOf(expires_in))
  }
})

const discover = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  host: string
): Effect.fn.Return<URL, DatabricksError> {
  const answer = yield* exchange(http, HttpClientRequest.get(`${host}${discoveryPath}`))
  const { token_endpoint } = yield* decodeDiscovery(answer)
  const endpoint = URL.parse(token_endpoint)
  if (endpoint !== null && isPrivate(endpoint)) return endpoint
  return yield* databricksError(
    new InvalidResponseError({
      message: `GET ${discoveryPath} names a token endpoint that is not an https:// address`
    })
  )
})

// An invalid request means invalid settings, so its error is one of the credentials.
const signIn = (http: HttpClient.HttpClient, host: string, client: Client) =>
  Effect.mapError(fetchToken(http, host, client), (error) => {
    const { _tag, errorCode, message, requestId, status } = error.reason
    return _tag === "InvalidRequestError"
      ? databricksError(new InvalidCredentialError({ message, status, errorCode, requestId }))
      : error
  })

const lifetimeOf = (expiresIn: unknown) => {
  const seconds = typeof expiresIn === "string" ? Number.parseFloat(expiresIn) : expiresIn
  return typeof seconds === "number" && Number.isFinite(seconds) && seconds > 0
    ? Math.max(0, seconds - margin)
    : defaultTimeToLive
}
