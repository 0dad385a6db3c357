import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { asUser, ForwardedHeaders, ServiceContext, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { inspect } from "node:util"
import { alice, bob, requestOf } from "./fixtures/people.ts"
import * as RawServer from "./fixtures/rawServer.ts"
import { Workspace } from "./fixtures/workspace.ts"

const me = "/api/2.0/preview/scim/v2/Me"

const whoami = (headers: Record<string, string>) => Effect.provide(UserContext, asUser(headers))

/** How often the workspace was asked while an effect ran. */
const questions = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { requests } = yield* LocalWorkspace.LocalWorkspace
    const asked = Effect.map(requests, (_) => _.filter(({ path }) => path === me).length)
    const before = yield* asked
    const result = yield* effect
    return [(yield* asked) - before, result] as const
  })

/** Lets real I/O go on until the workspace has been asked `count` times more. */
const untilAsked = (count: number) =>
  Effect.gen(function* () {
    const { requests } = yield* LocalWorkspace.LocalWorkspace
    const before = (yield* requests).length
    return Effect.repeat(
      Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
      {
        until: () => Effect.map(requests, (_) => _.length >= before + count)
      }
    )
  })

const everything = (value: unknown) =>
  inspect(value, { depth: 12, showHidden: true, getters: true }) + JSON.stringify(value) + String(value)

layer(Workspace)("IdentityVerifier", (it) => {
  it.effect("identifies the user by the access token", () =>
    Effect.gen(function* () {
      const { workspaceId } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      const user = yield* whoami(request)
      assert.deepInclude(user, {
        context: "user",
        id: request["x-forwarded-user"]!,
        userName: alice,
        email: alice,
        oboDevFallback: false
      })
      assert.notStrictEqual(user.scimId, user.id)
      assert.include(user.id, `@${workspaceId}`)
      const sent = Redacted.value(yield* user.authorization)
      assert.strictEqual(sent, `Bearer ${request["x-forwarded-access-token"]}`)
    })
  )

  it.effect("asks the workspace once per token for 50 requests at once", () =>
    Effect.gen(function* () {
      const people = [alice, bob]
      const requests = yield* Effect.forEach(people, (user) => requestOf(user))
      const calls = Array.from({ length: 50 }, (_, i) => whoami(requests[i % 2]!))
      const [asked, users] = yield* questions(Effect.all(calls, { concurrency: "unbounded" }))
      assert.strictEqual(asked, 2)
      for (const [i, user] of users.entries()) {
        assert.strictEqual(user.userName, people[i % 2])
      }
    })
  )

  it.effect("completes a lookup for other requests when its first request is interrupted", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      yield* misbehave({ kind: "delay", path: me, duration: "3 seconds", times: 1 })
      const [asked, user] = yield* questions(
        Effect.gen(function* () {
          const arrived = yield* untilAsked(1)
          const first = yield* Effect.forkChild(whoami(request))
          yield* arrived
          const second = yield* Effect.forkChild(whoami(request), { startImmediately: true })
          yield* Fiber.interrupt(first)
          yield* TestClock.adjust("3 seconds")
          return yield* Fiber.join(second)
        })
      )
      assert.strictEqual(user.userName, alice)
      assert.strictEqual(asked, 1)
    })
  )

  it.effect("asks again when the token has expired, and rejects it", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice, { ttl: "10 minutes" })
      assert.strictEqual((yield* questions(whoami(request)))[0], 1)
      yield* TestClock.adjust("599 seconds")
      assert.strictEqual((yield* questions(whoami(request)))[0], 0)
      yield* TestClock.adjust("1 second")
      const [asked, error] = yield* questions(Effect.flip(whoami(request)))
      assert.strictEqual(asked, 1)
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.strictEqual(error.message, "The workspace does not accept the access token: it is wrong or expired")
    })
  )

  it.effect("asks again about a rejected token after 5 seconds", () =>
    Effect.gen(function* () {
      const invalid = { ...(yield* requestOf(alice)), "x-forwarded-access-token": "a.b.c" }
      const refused = Effect.map(questions(Effect.flip(whoami(invalid))), ([asked, { _tag }]) => [asked, _tag])
      assert.deepStrictEqual(yield* refused, [1, "AuthenticationError"])
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* refused, [0, "AuthenticationError"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* refused, [1, "AuthenticationError"])
    })
  )

  it.effect("keeps verified tokens valid during an outage, and asks again after it", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const verified = yield* requestOf(alice)
      const unknown = yield* requestOf(bob)
      yield* whoami(verified)
      const outages = [
        { kind: "drop" },
        { kind: "answer", status: 503 },
        { kind: "answer", status: 429 },
        { kind: "answer", status: 500 },
        { kind: "answer", status: 404 },
        { kind: "truncate" }
      ] as const
      for (const outage of outages) {
        yield* Effect.gen(function* () {
          yield* misbehave({ path: me, ...outage })
          const [asked, error] = yield* questions(Effect.flip(whoami(unknown)))
          assert.strictEqual(asked, 1)
          assert.strictEqual(error._tag, "IdentityUnavailableError")
          assert.match(error.message, /^The workspace cannot be asked who sent this request: /)
          assert.strictEqual((yield* questions(whoami(verified)))[0], 0)
        }).pipe(Effect.scoped)
      }
      assert.strictEqual((yield* questions(whoami(unknown)))[0], 1)
    })
  )

  it.effect("fails with IdentityUnavailableError when no answer comes within 10 seconds", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      yield* misbehave({ kind: "hang", path: me, times: 1 })
      const arrived = yield* untilAsked(1)
      const waiting = yield* Effect.forkChild(Effect.flip(whoami(request)))
      yield* arrived
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "IdentityUnavailableError")
      assert.include(error.message, "no answer within 10s")
      yield* whoami(request)
    })
  )

  it.effect("asks again after 5 minutes about a token without an expiry", () =>
    Effect.gen(function* () {
      let asked = 0
      const { origin } = yield* RawServer.http((_, response) => {
        asked++
        response
          .writeHead(200, { "x-databricks-org-id": "1" })
          .end(JSON.stringify({ id: "7", userName: alice, emails: [{ value: "a.smith@example.com" }] }))
      })
      const options = { host: origin, token: Redacted.make("t") }
      yield* Effect.gen(function* () {
        asked = 0
        for (const token of ["opaque", "a.bm90IGpzb24.c", `a.${btoa('{"exp":"soon"}')}.c`, "a.%%%.c", "..", "."]) {
          const request = { "x-forwarded-user": "1@2", "x-forwarded-access-token": token }
          asked = 0
          yield* whoami(request)
          yield* TestClock.adjust("299 seconds")
          yield* whoami(request)
          assert.strictEqual(asked, 1, token)
          yield* TestClock.adjust("1 second")
          yield* whoami(request)
          assert.strictEqual(asked, 2, token)
        }
        const email = (address: string) =>
          whoami({ "x-forwarded-user": "1@2", "x-forwarded-access-token": "..", "x-forwarded-email": address })
        assert.strictEqual((yield* email("A.Smith@example.com")).userName, alice, "a secondary address")
        yield* Effect.flip(email("b.smith@example.com"))
      }).pipe(Effect.provide(ServiceContext.layer(options), { local: true }))
    })
  )

  it.effect("rejects headers that name another user than the token", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const mismatch = (more: Record<string, string>) =>
        Effect.map(Effect.flip(whoami({ ...request, ...more })), (error) => {
          assert.strictEqual(error._tag, "IdentityMismatchError")
          assert.strictEqual(error.message, "The forwarded headers name somebody else than the access token proves")
        })
      yield* mismatch({ "x-forwarded-email": bob })
      yield* mismatch({ "x-forwarded-user": bob })
      yield* mismatch({ "x-forwarded-email": bob, "x-forwarded-user": alice })
      const { "x-forwarded-email": _, ...noEmail } = request
      yield* Effect.flip(whoami({ ...noEmail, "x-forwarded-user": bob }))
      for (const more of [
        { "x-forwarded-email": "ALICE@Example.com" },
        { "x-forwarded-user": "Alice@example.com" },
        { "x-forwarded-user": "123@456" },
        { "x-forwarded-user": "somebody" },
        { "x-forwarded-preferred-username": bob }
      ]) {
        const user = yield* whoami({ ...request, ...more })
        assert.strictEqual(user.userName, alice)
        assert.strictEqual(user.id, more["x-forwarded-user"] ?? request["x-forwarded-user"])
      }
    })
  )

  it.effect("rejects a token without the scope iam.current-user:read, and names the scope", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(whoami(yield* requestOf(alice, { scopes: ["sql"] })))
      assert.strictEqual(error._tag, "AuthenticationError")
      assert.include(error.message, `needs the scope "iam.current-user:read"`)
    })
  )

  it.effect("trusts the headers and asks nothing when identity is trusted", () =>
    Effect.gen(function* () {
      const { host, servicePrincipal, token } = yield* LocalWorkspace.LocalWorkspace
      const options = { host, token: yield* token(servicePrincipal.clientId), identity: "trusted" as const }
      yield* Effect.gen(function* () {
        const request = yield* requestOf(alice)
        const [asked, user] = yield* questions(whoami({ ...request, "x-forwarded-email": "carol@example.com" }))
        assert.strictEqual(asked, 0)
        assert.deepInclude(user, { id: request["x-forwarded-user"]!, userName: "carol@example.com", context: "user" })
        const bare = yield* whoami({ "x-forwarded-user": "7@1", "x-forwarded-access-token": "t" })
        assert.deepInclude(bare, { id: "7@1", scimId: "7@1", userName: "7@1", email: undefined })
      }).pipe(Effect.provide(ServiceContext.layer(options), { local: true }))
    })
  )

  it.effect("shows no token in users, cache keys or errors", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const service = yield* ServiceContext.ServiceContext
      const request = yield* requestOf(alice)
      const token = request["x-forwarded-access-token"]!
      const shown: Array<unknown> = [yield* whoami(request), yield* ForwardedHeaders.decode(request)]
      for (const fault of [{ kind: "drop" }, { kind: "answer", status: 403, body: "no" }] as const) {
        const failing = yield* requestOf(bob)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* misbehave({ path: me, ...fault })
            const exit = yield* Effect.exit(whoami(failing))
            assert.isTrue(Exit.isFailure(exit))
            assert.notInclude(everything(exit), failing["x-forwarded-access-token"]!)
          })
        )
      }
      for (const value of [...shown, service, service.identityVerifier]) assert.notInclude(everything(value), token)
    })
  )
})
