/**
 * Proves who sent a request: the token decides, the headers may only agree.
 *
 * @since 0.1.0
 */
import { Cache, Clock, Duration, Effect, Exit, Option, Redacted, Result, Schema } from "effect"
import { Base64Url } from "effect/encoding"
import type { HttpClientRequest, HttpClientResponse } from "effect/http"
import type { Caller } from "./Caller.ts"
import type { DatabricksError } from "./DatabricksError.ts"
import type { WithToken } from "./ForwardedHeaders.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "./IdentityError.ts"
import * as Scim from "./internal/workspace/scim.ts"
import * as TokenCache from "./internal/workspace/tokenCache.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface IdentityVerifier {
  /** The caller whom the token in these headers proves. */
  readonly verify: (headers: WithToken) => Effect.Effect<Caller, IdentityError>
}

/**
 * Asks `SCIM Me` once per token: concurrent requests share the question, and the answer is kept until the token
 * expires (an hour at most, 5 minutes if it does not say when). A refusal is kept for 5 seconds, an outage, or 10 seconds
 * without an answer, not at all. At most 10,000 proven tokens are remembered, by their SHA-256; and 1,000 others apart
 * from them, so that however many wrong ones come, no proven one is forgotten for them.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  send: (
    credential: Pick<Caller, "authorization" | "context">,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>
): Effect.fn.Return<IdentityVerifier> {
  const context = yield* Effect.context<never>()
  const proven = yield* Cache.makeWith((_key: string): Effect.Effect<Proof> => Effect.never, {
    capacity: 10_000,
    timeToLive: Exit.match({ onFailure: () => Duration.zero, onSuccess: ({ timeToLive }) => timeToLive })
  })
  // Those that are asked about, and those that were refused.
  const unproven = yield* TokenCache.make<Scim.Identity, IdentityError>({
    capacity: 1_000,
    timeToLive: (exit) =>
      Option.exists(Exit.findErrorOption(exit), (error) => error._tag === "AuthenticationError")
        ? refusalTimeToLive
        : Duration.zero
  })
  const prove = Effect.fnUntraced(function* (
    key: string,
    headers: WithToken
  ): Effect.fn.Return<Scim.Identity, IdentityError> {
    const { identity } = yield* Effect.timeoutOrElse(
      Effect.mapError(Scim.me(send, { authorization: bearer(headers), context: "user" }), refusal),
      {
        duration: timeout,
        orElse: () => Effect.fail(unavailable(`no answer within ${Duration.format(timeout)}`))
      }
    )
    const timeToLive = timeToLiveOf(headers.accessToken, yield* Clock.currentTimeMillis)
    // An entry keeps the context that it is set in, which must not be that of a request.
    yield* Effect.setContext(Cache.set(proven, key, { identity, timeToLive }), context)
    return identity
  })
  return {
    verify: (headers) => {
      const key = headers.tokenDigest
      const admit = (identity: Scim.Identity) =>
        agree(headers, identity) ? Effect.succeed(asCaller(headers, identity)) : Effect.fail(mismatch())
      return Effect.flatMap(Cache.getSuccess(proven, key), (proof) =>
        Option.isSome(proof)
          ? admit(proof.value.identity)
          : Effect.flatMap(unproven.get(key, prove(key, headers)), admit)
      )
    }
  }
})

/**
 * Believes the headers and proves nothing.
 *
 * Only for an application that nothing but the Databricks Apps proxy can reach: whoever can send it a request directly
 * can name anybody. The workspace still checks the token of every call that reaches it, but what the application keeps
 * by caller (caches, pools, streams) is then as safe as the network is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const trustProxy: IdentityVerifier = {
  verify: (headers) => {
    const userName = headers.email ?? headers.preferredUsername ?? headers.user
    return userName === undefined
      ? Effect.fail(new AuthenticationError({ message: "The request has no x-forwarded-user header" }))
      : Effect.succeed(asCaller(headers, new Scim.Identity({ id: headers.user ?? userName, userName })))
  }
}

interface Proof {
  readonly identity: Scim.Identity
  readonly timeToLive: Duration.Duration
}

const timeout = Duration.seconds(10)

/** A token may be revoked long before it expires. */
const longestProof = Duration.hours(1)

/** Whoever goes on with a wrong token is answered without the workspace; who is let in late waits no longer than this. */
const refusalTimeToLive = Duration.seconds(5)

const bearer = (headers: WithToken) => Effect.sync(() => headers.authorization)

const asCaller = (headers: WithToken, identity: Scim.Identity): Caller => ({
  context: "user",
  id: headers.user ?? identity.id,
  scimId: identity.id,
  userName: identity.userName,
  email: identity.email,
  oboDevFallback: false,
  authorization: bearer(headers)
})

const agree = ({ email, user }: WithToken, identity: Scim.Identity): boolean =>
  (email === undefined || identity.owns(email)) &&
  // An opaque x-forwarded-user (123@456) is no e-mail address, and nothing that SCIM answers can be compared with it.
  (user === undefined || !Scim.isEmail(user) || identity.owns(user))

const mismatch = () =>
  new IdentityMismatchError({ message: "The forwarded headers name somebody else than the access token proves" })

const refusal = ({ reason }: DatabricksError): IdentityError => {
  switch (reason._tag) {
    case "InvalidCredentialError":
      return new AuthenticationError({
        message: "The workspace does not accept the access token: it is wrong or expired"
      })
    case "MissingScopeError":
    case "PermissionDeniedError":
      return new AuthenticationError({ message: reason.message })
    default:
      return unavailable(reason.message)
  }
}

const unavailable = (why: string) =>
  new IdentityUnavailableError({ message: `The workspace cannot be asked who sent this request: ${why}` })

const timeToLiveOf = (token: Redacted.Redacted, now: number) =>
  Base64Url.decodeString(Redacted.value(token).split(".")[1] ?? "").pipe(
    Result.getSuccess,
    Option.flatMap(decodeClaims),
    Option.match({
      onNone: () => Duration.minutes(5),
      onSome: ({ exp }) => Duration.min(Duration.millis(Math.max(0, exp * 1000 - now)), longestProof)
    })
  )

const decodeClaims = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ exp: Schema.Finite })))
