/**
 * Verifies the sender of a request. The access token decides; the forwarded headers must agree with it.
 *
 * @since 0.1.0
 */
import { Clock, Duration, Effect, Exit, Option, Redacted, Result, Schema } from "effect"
import { Base64Url } from "effect/encoding"
import type { HttpClientRequest, HttpClientResponse } from "effect/http"
import type { Caller } from "./Caller.ts"
import { ConnectionError, type DatabricksError, make as databricksError } from "./DatabricksError.ts"
import type { WithToken } from "./ForwardedHeaders.ts"
import {
  AuthenticationError,
  type IdentityError,
  IdentityMismatchError,
  IdentityUnavailableError
} from "./IdentityError.ts"
import * as SteadyClock from "./internal/steadyClock.ts"
import * as Retry from "./internal/workspace/retry.ts"
import * as Scim from "./internal/workspace/scim.ts"
import * as TokenCache from "./internal/workspace/tokenCache.ts"

/**
 * The service that turns forwarded headers into a verified caller.
 *
 * @since 0.1.0
 * @category models
 */
export interface IdentityVerifier {
  /** Returns the holder of the access token in these headers. */
  readonly verify: (headers: WithToken) => Effect.Effect<Caller, IdentityError>
}

/**
 * Makes a verifier that calls `SCIM Me` of the workspace once per access token.
 *
 * Concurrent requests with the same token share one call, which is sent up to 3 times within 10 seconds if the
 * workspace fails or the connection is lost. A verified token is cached by its SHA-256 until it expires: at most 1
 * hour, and 5 minutes if the token has no expiry. A rejected token stays rejected for 5 seconds; outages are not
 * cached. At most 10,000 verified tokens are cached. Rejected tokens (at most 1,000) are cached separately, so they
 * cannot evict verified ones.
 *
 * `send` sends to the workspace of `principal`, the application's service principal. The service principal's own token
 * is rejected, and so is the token of a deactivated user.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (
  send: (
    credential: Pick<Caller, "authorization" | "context">,
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>,
  principal: Caller
) => Effect.Effect<IdentityVerifier> = Effect.fnUntraced(function* (send, principal) {
  const now = SteadyClock.now(yield* Clock.Clock)
  const proven = new Proven(now)
  // Tokens whose verification is in flight, and rejected ones.
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
    const { identity } = yield* Effect.mapError(
      inTime(Scim.me(send, { authorization: bearer(headers), context: "user" })),
      refusal
    )
    if (!identity.isActive) return yield* inactive()
    if (isApp(identity, principal)) return yield* app()
    proven.set(key, identity, timeToLiveOf(headers.accessToken, yield* Clock.currentTimeMillis))
    return identity
  })
  return {
    verify: (headers) =>
      Effect.suspend(() => {
        const key = headers.tokenDigest
        const identity = proven.get(key)
        return identity === undefined
          ? Effect.flatMap(unproven.get(key, prove(key, headers)), (identity) => admit(headers, identity, principal))
          : admit(headers, identity, principal)
      })
  }
})

/**
 * Makes a verifier that trusts the forwarded headers and does not call the workspace.
 *
 * Use it only if the Databricks Apps proxy is the only way to reach the application: a request that is sent directly
 * can name any user of this workspace. The workspace still checks the token of each call that reaches it. Data that the
 * application stores by caller (caches, pools, streams) is then only as safe as the network. Headers that name the
 * application's service principal or a user of another workspace are rejected.
 *
 * @since 0.1.0
 * @category constructors
 */
export const trustProxy = (principal: Caller): IdentityVerifier => ({
  verify: (headers) => {
    const { email, preferredUsername, user } = headers
    const userName = email ?? preferredUsername ?? user
    if (userName === undefined) {
      return Effect.fail(
        new AuthenticationError({
          message: "The request has no x-forwarded-user header: it did not come through the Databricks Apps proxy"
        })
      )
    }
    const forwarded = user === undefined ? undefined : Scim.forwardedId(user)
    if (forwarded !== undefined && forwarded.workspaceId !== principal.workspaceId) {
      return mismatch(`a user of another workspace than this application's, ${principal.workspaceId}`)
    }
    const identity = new Scim.Identity({ id: user ?? userName, userName })
    return isApp({ id: forwarded?.id ?? identity.id, userName }, principal)
      ? Effect.fail(app())
      : Effect.succeed(asCaller(headers, identity, identity.id, principal))
  }
})

interface Proof {
  readonly identity: Scim.Identity
  readonly expiresAt: number
}

/** The holders of verified tokens, by the token's digest. */
class Proven {
  // In order of use, the least recently used first.
  private readonly proofs = new Map<string, Proof>()
  private readonly now: () => number
  constructor(now: () => number) {
    this.now = now
  }

  get(key: string): Scim.Identity | undefined {
    const proof = this.proofs.get(key)
    if (proof === undefined) return undefined
    this.proofs.delete(key)
    if (proof.expiresAt <= this.now()) return undefined
    this.proofs.set(key, proof)
    return proof.identity
  }

  set(key: string, identity: Scim.Identity, timeToLive: Duration.Duration): void {
    this.proofs.delete(key)
    this.proofs.set(key, { identity, expiresAt: this.now() + Duration.toMillis(timeToLive) })
    if (this.proofs.size <= mostProven) return
    for (const oldest of this.proofs.keys()) return void this.proofs.delete(oldest)
  }
}

const mostProven = 10_000

const timeout = Duration.seconds(10)

const inTime = Retry.inTime(timeout, Retry.repeatable, () =>
  databricksError(new ConnectionError({ message: `no response within ${Duration.format(timeout)}` }))
)

// A token may be revoked long before it expires.
const longestProof = Duration.hours(1)

// Spares the workspace repeated wrong tokens; a user who is granted access waits no longer than this.
const refusalTimeToLive = Duration.seconds(5)

const bearer = (headers: WithToken) => Effect.sync(() => headers.authorization)

const admit = (headers: WithToken, identity: Scim.Identity, principal: Caller) => {
  const { email, user } = headers
  const named = user === undefined ? undefined : names(user, identity, principal)
  return named === false || (email !== undefined && !identity.owns(email))
    ? mismatch(`another person than the holder of the access token, ${identity.id}@${principal.workspaceId}`)
    : Effect.succeed(asCaller(headers, identity, named === true ? user! : identity.id, principal))
}

/** Whether an `x-forwarded-user` names this person; `undefined` if it may be a display name, which proves nothing. */
const names = (user: string, identity: Scim.Identity, { workspaceId }: Caller): boolean | undefined => {
  const forwarded = Scim.forwardedId(user)
  if (forwarded !== undefined) return forwarded.id === identity.id && forwarded.workspaceId === workspaceId
  return identity.owns(user) || (Scim.isEmail(user) ? false : undefined)
}

/** Whether this is the application's service principal. In development it may be a person, who is a user as well. */
const isApp = ({ id, userName }: Pick<Scim.Identity, "id" | "userName">, principal: Caller): boolean =>
  principal.email === undefined && (id === principal.scimId || userName === principal.userName)

const asCaller = (headers: WithToken, identity: Scim.Identity, id: string, { workspaceId }: Caller): Caller => ({
  workspaceId,
  context: "user",
  id,
  scimId: identity.id,
  userName: identity.userName,
  email: identity.email,
  oboDevFallback: false,
  authorization: bearer(headers)
})

const mismatch = (whom: string) =>
  Effect.fail(new IdentityMismatchError({ message: `The forwarded headers name ${whom}` }))

const inactive = () =>
  new AuthenticationError({ message: "The user of the access token has been deactivated in the workspace" })

const app = () =>
  new AuthenticationError({
    message: "The x-forwarded-access-token belongs to the app's own service principal, which is not a user"
  })

const refusal = ({ reason }: DatabricksError): IdentityError => {
  switch (reason._tag) {
    case "InvalidCredentialError":
      return new AuthenticationError({
        message: "The workspace does not accept the access token, which is wrong or expired: sign in again"
      })
    case "MissingScopeError":
    case "PermissionDeniedError":
      return new AuthenticationError({ message: reason.message })
    default:
      return unavailable(reason.message)
  }
}

const unavailable = (why: string) =>
  new IdentityUnavailableError({ message: `The workspace could not verify the sender of this request: ${why}` })

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
