/**
 * OAuth for machines. The SDK has it too, but its requests cannot be interrupted, have no timeout, and are made by
 * every call at once when a token has expired; and it tells its failures in sentences only.
 */
import { Duration, Effect, Exit, Redacted, Schema } from "effect"
import { Base64 } from "effect/encoding"
import { type HttpClient, HttpClientRequest } from "effect/http"
import type { Caller } from "../../Caller.ts"
import { type DatabricksError, InvalidResponseError, make as databricksError } from "../../DatabricksError.ts"
import * as Answer from "./answer.ts"
import { isPrivate } from "./host.ts"
import * as TokenCache from "./tokenCache.ts"
import { exchange, json, maxShortAnswer } from "./transport.ts"

export const authorization = (
  http: HttpClient.HttpClient,
  host: string,
  client: { readonly id: string; readonly secret: Redacted.Redacted }
): Effect.Effect<Caller["authorization"]> =>
  Effect.map(
    TokenCache.make<Fetched, DatabricksError>({
      capacity: 1,
      timeToLive: (exit) => (Exit.isSuccess(exit) ? exit.value.timeToLive : Duration.zero)
    }),
    (tokens) => Effect.map(tokens.get("token", fetchToken(http, host, client)), (_) => _.authorization)
  )

// The SDKs' own: Azure refuses a token that lives for 30 seconds or less.
const margin = 40

const timeout = Duration.seconds(30)

const discoveryPath = "/oidc/.well-known/oauth-authorization-server"

const decodeDiscovery = json(Schema.Struct({ token_endpoint: Schema.String }), maxShortAnswer)

const decodeToken = json(
  Schema.Struct({
    access_token: Schema.NonEmptyString,
    expires_in: Schema.Union([Schema.Finite, Schema.FiniteFromString])
  }),
  maxShortAnswer
)

interface Fetched {
  readonly authorization: Redacted.Redacted
  readonly timeToLive: Duration.Duration
}

const fetchToken = Effect.fnUntraced(
  function* (
    http: HttpClient.HttpClient,
    host: string,
    client: { readonly id: string; readonly secret: Redacted.Redacted }
  ): Effect.fn.Return<Fetched, DatabricksError> {
    const discovery = yield* exchange(http, HttpClientRequest.get(`${host}${discoveryPath}`))
    const { token_endpoint } = yield* decodeDiscovery(discovery)
    const endpoint = URL.parse(token_endpoint)
    if (endpoint === null || !isPrivate(endpoint)) {
      return yield* databricksError(
        new InvalidResponseError({ message: `GET ${discoveryPath} names a token endpoint that is no https:// address` })
      )
    }
    const answer = yield* exchange(
      http,
      HttpClientRequest.post(endpoint).pipe(
        HttpClientRequest.bodyUrlParams({ grant_type: "client_credentials", scope: "all-apis" })
      ),
      Redacted.make(`Basic ${Base64.encode(`${client.id}:${Redacted.value(client.secret)}`)}`)
    )
    const { access_token, expires_in } = yield* decodeToken(answer)
    return {
      authorization: Redacted.make(`Bearer ${access_token}`, { label: "authorization" }),
      timeToLive: Duration.seconds(Math.max(0, expires_in - margin))
    }
  },
  Effect.timeoutOrElse({
    duration: timeout,
    orElse: () => Effect.fail(Answer.connection("the service principal's sign-in", "timeout"))
  })
)
