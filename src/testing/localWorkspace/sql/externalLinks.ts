/** Plays the cloud storage, whose links carry their own permission and which accepts no other. */
import { Effect } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import { createHmac, randomBytes } from "node:crypto"
import * as Replies from "../http/replies.ts"

export interface Options {
  readonly origin: () => string
  readonly now: () => number
  readonly ttlMillis: number
  /** The headers that a download must send. */
  readonly headers: Readonly<Record<string, string>>
}

export const path = "/external-links"

export const make = (options: Options) => {
  const key = randomBytes(32)
  const sign = (target: string, expires: string) =>
    createHmac("sha256", key).update(`${target}?${expires}`).digest("base64url")

  return {
    to: (statementId: string, index: number) => {
      const target = `${path}/${statementId}/${index}`
      const expires = options.now() + options.ttlMillis
      return {
        external_link: `${options.origin()}${target}?expires=${expires}&signature=${sign(target, String(expires))}`,
        expiration: new Date(expires).toISOString(),
        ...(Object.keys(options.headers).length > 0 && { http_headers: options.headers })
      }
    },
    check: (request: HttpServerRequest.HttpServerRequest): Effect.Effect<void, Replies.Refused> => {
      const { pathname, searchParams } = new URL(request.url, "http://localhost")
      const expires = searchParams.get("expires") ?? ""
      if (request.headers["authorization"] !== undefined) return Effect.fail(Replies.linkWithCredential)
      if (searchParams.get("signature") !== sign(pathname, expires)) return Effect.fail(Replies.linkNotSigned)
      const missing = Object.entries(options.headers).some(
        ([name, value]) => request.headers[name.toLowerCase()] !== value
      )
      if (missing) return Effect.fail(Replies.linkNotSigned)
      return options.now() >= Number(expires) ? Effect.fail(Replies.linkExpired) : Effect.void
    }
  }
}

export type ExternalLinks = ReturnType<typeof make>
