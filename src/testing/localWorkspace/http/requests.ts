/** Reads body, token and path of a request, and turns refusals into responses. */
import { Effect, Redacted, Schema } from "effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Directory } from "../identity/directory.ts"
import { allScopes, type Principal } from "../identity/principals.ts"
import * as Replies from "./replies.ts"

/** Decodes the JSON body of the current request, and refuses a malformed one. */
export const body = <A, I>(schema: Schema.Codec<A, I>) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const json = yield* Effect.mapError(request.json, () =>
      Replies.malformed("Could not parse the request body as JSON.")
    )
    return yield* Schema.decodeUnknownEffect(schema)(json).pipe(
      Effect.mapError((error) => Replies.malformed(`Could not parse request object: ${error.message}`))
    )
  })

/** Returns the bearer token of a request. */
export const bearer = (request: HttpServerRequest.HttpServerRequest): Redacted.Redacted<string> | undefined => {
  const token = /^Bearer\s+(\S+)$/i.exec(request.headers["authorization"] ?? "")?.[1]
  return token === undefined ? undefined : Redacted.make(token, { label: "token" })
}

/** Returns the request's target without the query. */
export const pathOf = (request: HttpServerRequest.HttpServerRequest) => request.url.split("?", 1)[0] ?? request.url

/** The scope of SCIM Me. */
export const currentUser = "iam.current-user:read"

/** Accepts a request if its token is live and has the scope, and its principal is active. */
export const authenticated =
  (directory: Directory) =>
  <E, R>(scope: string, handle: (caller: Principal) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const token = bearer(request)
      if (token === undefined) return yield* Replies.credentialMissing
      const grant = directory.grant(Redacted.value(token))
      if (grant === undefined) return yield* Replies.tokenRejected
      // Inferred. SCIM Me still answers, so that an application sees `active: false`.
      if (!grant.principal.active && scope !== currentUser) return yield* Replies.tokenRejected
      if (!grant.scopes.has(scope) && !grant.scopes.has(allScopes)) return yield* Replies.scopeMissing(scope)
      return yield* handle(grant.principal)
    })

/** Adds a route whose refusals become responses. */
export const adder =
  (router: HttpRouter.HttpRouter) =>
  (
    method: "GET" | "POST" | "PUT" | "DELETE",
    path: `/${string}`,
    handler: Effect.Effect<
      HttpServerResponse.HttpServerResponse,
      Replies.Refused,
      HttpServerRequest.HttpServerRequest | HttpRouter.RouteContext
    >
  ) =>
    router.add(
      method,
      path,
      Effect.catchTag(handler, "Refused", (refused) => Effect.succeed(refused.response))
    )
