/** A user's tokens: several live ones at once, each for seconds only. */
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect, Random } from "effect"

export interface Token {
  readonly headers: Readonly<Record<string, string>>
  readonly expiresAt: number
  /** A request with it has succeeded, so that the workspace has verified it. */
  proven: boolean
}

export interface User {
  readonly name: string
  live: Array<Token>
  /** One that expired a while ago. */
  expired: Token | undefined
}

const most = 3
/** A claim has whole seconds: so much longer a token may be believed. */
const slack = 2_000

const mint = Effect.fnUntraced(function* (user: User) {
  const { headers } = yield* LocalWorkspace.LocalWorkspace
  const ttl = yield* Random.nextIntBetween(3_000, 30_000)
  const expiresAt = Date.now() + ttl
  const token: Token = { headers: yield* Effect.orDie(headers(user.name, { ttl })), expiresAt, proven: false } // it knows them all
  user.live.push(token)
  return token
})

/** One of those that live, an older one or a new one. */
export const one = Effect.fnUntraced(function* (user: User) {
  const now = Date.now()
  user.expired = user.live.findLast(({ expiresAt }) => expiresAt + slack < now) ?? user.expired
  user.live = user.live.filter(({ expiresAt }) => expiresAt + slack >= now)
  const usable = user.live.filter(({ expiresAt }) => expiresAt > now)
  const isNew = usable.length === 0 || (usable.length < most && (yield* Random.next) < 0.1)
  return isNew ? yield* mint(user) : usable[yield* Random.nextIntBetween(0, usable.length, { halfOpen: true })]!
})
