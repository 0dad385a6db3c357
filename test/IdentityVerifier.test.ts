import { assert, describe, layer } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { asUser, ForwardedHeaders, ServiceContext, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"

const Workspace = LocalWorkspace.LocalWorkspace

const Service = Layer.unwrap(
  Effect.map(Workspace, ({ env }) =>
    Layer.provide(ServiceContext.layerConfig(), ConfigProvider.layer(ConfigProvider.fromUnknown(env)))
  )
)

const me = "/api/2.0/preview/scim/v2/Me"

const whoami = (headers: Record<string, string>) => Effect.provide(UserContext, asUser(headers))

/** How often the workspace was asked while an effect ran. */
const questions = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { requests } = yield* Workspace
    const asked = Effect.map(requests, (_) => _.filter(({ path }) => path === me).length)
    const before = yield* asked
    const result = yield* effect
    return [(yield* asked) - before, result] as const
  })

/** Lets real I/O go on until the workspace has been asked `count` times more. */
const untilAsked = (count: number) =>
  Effect.gen(function* () {
    const { requests } = yield* Workspace
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

layer(Layer.provideMerge(Service, LocalWorkspace.layer()))("IdentityVerifier", (it) => {
  it.effect("lets the token decide who somebody is", () =>
    Effect.gen(function* () {
      const { headers, workspaceId } = yield* Workspace
      const alice = yield* headers("alice@example.com")
      const user = yield* whoami(alice)
      assert.deepInclude(user, {
        context: "user",
        id: alice["x-forwarded-user"]!,
        userName: "alice@example.com",
        email: "alice@example.com",
        oboDevFallback: false
      })
      assert.notStrictEqual(user.scimId, user.id)
      assert.include(user.id, `@${workspaceId}`)
      const sent = Redacted.value(yield* user.authorization)
      assert.strictEqual(sent, `Bearer ${alice["x-forwarded-access-token"]}`)
    })
  )

  describe("asks", () => {
    it.effect("once per token, however many requests come at once", () =>
      Effect.gen(function* () {
        const { headers } = yield* Workspace
        const people = [yield* headers("alice@example.com"), yield* headers("bob@example.com")]
        const calls = Array.from({ length: 50 }, (_, i) => whoami(people[i % 2]!))
        const [asked, users] = yield* questions(Effect.all(calls, { concurrency: "unbounded" }))
        assert.strictEqual(asked, 2)
        for (const [i, user] of users.entries()) {
          assert.strictEqual(user.userName, ["alice@example.com", "bob@example.com"][i % 2])
        }
      })
    )

    it.effect("on, when the first of those who wait goes away", () =>
      Effect.gen(function* () {
        const { headers, misbehave } = yield* Workspace
        const alice = yield* headers("alice@example.com")
        yield* misbehave({ kind: "delay", path: me, duration: "3 seconds", times: 1 })
        const [asked, user] = yield* questions(
          Effect.gen(function* () {
            const arrived = yield* untilAsked(1)
            const first = yield* Effect.forkChild(whoami(alice))
            yield* arrived
            const second = yield* Effect.forkChild(whoami(alice), { startImmediately: true })
            yield* Fiber.interrupt(first)
            yield* TestClock.adjust("3 seconds")
            return yield* Fiber.join(second)
          })
        )
        assert.strictEqual(user.userName, "alice@example.com")
        assert.strictEqual(asked, 1)
      })
    )

    it.effect("again when the token has expired", () =>
      Effect.gen(function* () {
        const { headers } = yield* Workspace
        const alice = yield* headers("alice@example.com", { ttl: "10 minutes" })
        assert.strictEqual((yield* questions(whoami(alice)))[0], 1)
        yield* TestClock.adjust("599 seconds")
        assert.strictEqual((yield* questions(whoami(alice)))[0], 0)
        yield* TestClock.adjust("1 second")
        const [asked, error] = yield* questions(Effect.flip(whoami(alice)))
        assert.strictEqual(asked, 1)
        assert.strictEqual(error._tag, "AuthenticationError")
        assert.strictEqual(error.message, "The workspace does not accept the access token: it is wrong or expired")
      })
    )

    it.effect("again after 5 seconds where the token was refused", () =>
      Effect.gen(function* () {
        const { headers } = yield* Workspace
        const nobody = { ...(yield* headers("alice@example.com")), "x-forwarded-access-token": "a.b.c" }
        const refused = Effect.map(questions(Effect.flip(whoami(nobody))), ([asked, { _tag }]) => [asked, _tag])
        assert.deepStrictEqual(yield* refused, [1, "AuthenticationError"])
        yield* TestClock.adjust("4999 millis")
        assert.deepStrictEqual(yield* refused, [0, "AuthenticationError"])
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* refused, [1, "AuthenticationError"])
      })
    )

    it.effect("the next time after an outage, while proven tokens go on", () =>
      Effect.gen(function* () {
        const { headers, misbehave } = yield* Workspace
        const [alice, bob] = [yield* headers("alice@example.com"), yield* headers("bob@example.com")]
        yield* whoami(alice)
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
            const [asked, error] = yield* questions(Effect.flip(whoami(bob)))
            assert.strictEqual(asked, 1)
            assert.strictEqual(error._tag, "IdentityUnavailableError")
            assert.match(error.message, /^The workspace cannot be asked who sent this request: /)
            assert.strictEqual((yield* questions(whoami(alice)))[0], 0)
          }).pipe(Effect.scoped)
        }
        assert.strictEqual((yield* questions(whoami(bob)))[0], 1)
      })
    )

    it.effect("for 10 seconds at most", () =>
      Effect.gen(function* () {
        const { headers, misbehave } = yield* Workspace
        const alice = yield* headers("alice@example.com")
        yield* misbehave({ kind: "hang", path: me, times: 1 })
        const arrived = yield* untilAsked(1)
        const waiting = yield* Effect.forkChild(Effect.flip(whoami(alice)))
        yield* arrived
        yield* TestClock.adjust("10 seconds")
        const error = yield* Fiber.join(waiting)
        assert.strictEqual(error._tag, "IdentityUnavailableError")
        assert.include(error.message, "no answer within 10s")
        yield* whoami(alice)
      })
    )

    it.effect("after 5 minutes where the token does not say when it expires", () =>
      Effect.gen(function* () {
        let asked = 0
        const server = Http.createServer({ keepAliveTimeout: 60_000 }, (_, response) => {
          asked++
          response
            .writeHead(200, { "x-databricks-org-id": "1" })
            .end(JSON.stringify({ id: "7", userName: "alice@example.com", emails: [{ value: "a.smith@example.com" }] }))
        })
        yield* Effect.acquireRelease(
          Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
          () => Effect.sync(() => server.close().closeAllConnections())
        )
        const { port } = server.address() as AddressInfo // it listens on TCP
        const options = { host: `http://127.0.0.1:${port}`, token: Redacted.make("t") }
        yield* Effect.gen(function* () {
          asked = 0
          for (const token of ["opaque", "a.bm90IGpzb24.c", `a.${btoa('{"exp":"soon"}')}.c`, "a.%%%.c", "..", "."]) {
            const alice = { "x-forwarded-user": "1@2", "x-forwarded-access-token": token }
            asked = 0
            yield* whoami(alice)
            yield* TestClock.adjust("299 seconds")
            yield* whoami(alice)
            assert.strictEqual(asked, 1, token)
            yield* TestClock.adjust("1 second")
            yield* whoami(alice)
            assert.strictEqual(asked, 2, token)
          }
          const email = (address: string) =>
            whoami({ "x-forwarded-user": "1@2", "x-forwarded-access-token": "..", "x-forwarded-email": address })
          assert.strictEqual((yield* email("A.Smith@example.com")).userName, "alice@example.com", "a secondary address")
          yield* Effect.flip(email("b.smith@example.com"))
        }).pipe(Effect.provide(ServiceContext.layer(options), { local: true }))
      })
    )
  })

  describe("refuses", () => {
    it.effect("headers that contradict the token, where they can be compared", () =>
      Effect.gen(function* () {
        const { headers } = yield* Workspace
        const alice = yield* headers("alice@example.com")
        const mismatch = (more: Record<string, string>) =>
          Effect.map(Effect.flip(whoami({ ...alice, ...more })), (error) => {
            assert.strictEqual(error._tag, "IdentityMismatchError")
            assert.strictEqual(error.message, "The forwarded headers name somebody else than the access token proves")
          })
        yield* mismatch({ "x-forwarded-email": "bob@example.com" })
        yield* mismatch({ "x-forwarded-user": "bob@example.com" })
        yield* mismatch({ "x-forwarded-email": "bob@example.com", "x-forwarded-user": "alice@example.com" })
        const { "x-forwarded-email": _, ...noEmail } = alice
        yield* Effect.flip(whoami({ ...noEmail, "x-forwarded-user": "bob@example.com" }))
        for (const more of [
          { "x-forwarded-email": "ALICE@Example.com" },
          { "x-forwarded-user": "Alice@example.com" },
          { "x-forwarded-user": "123@456" },
          { "x-forwarded-user": "somebody" },
          { "x-forwarded-preferred-username": "bob@example.com" }
        ]) {
          const user = yield* whoami({ ...alice, ...more })
          assert.strictEqual(user.userName, "alice@example.com")
          assert.strictEqual(user.id, more["x-forwarded-user"] ?? alice["x-forwarded-user"])
        }
      })
    )

    it.effect("a token that may not ask who it is, and says which scope it lacks", () =>
      Effect.gen(function* () {
        const { headers } = yield* Workspace
        const error = yield* Effect.flip(whoami(yield* headers("alice@example.com", { scopes: ["sql"] })))
        assert.strictEqual(error._tag, "AuthenticationError")
        assert.include(error.message, `needs the scope "iam.current-user:read"`)
      })
    )
  })

  it.effect("believes the headers and asks nothing where the proxy is trusted", () =>
    Effect.gen(function* () {
      const { headers, host, servicePrincipal, token } = yield* Workspace
      const options = { host, token: yield* token(servicePrincipal.clientId), identity: "trusted" as const }
      yield* Effect.gen(function* () {
        const alice = yield* headers("alice@example.com")
        const [asked, user] = yield* questions(whoami({ ...alice, "x-forwarded-email": "carol@example.com" }))
        assert.strictEqual(asked, 0)
        assert.deepInclude(user, { id: alice["x-forwarded-user"]!, userName: "carol@example.com", context: "user" })
        const bare = yield* whoami({ "x-forwarded-user": "7@1", "x-forwarded-access-token": "t" })
        assert.deepInclude(bare, { id: "7@1", scimId: "7@1", userName: "7@1", email: undefined })
      }).pipe(Effect.provide(ServiceContext.layer(options), { local: true }))
    })
  )

  it.effect("shows no token, in no key and in no error", () =>
    Effect.gen(function* () {
      const { headers, misbehave } = yield* Workspace
      const service = yield* ServiceContext.ServiceContext
      const alice = yield* headers("alice@example.com")
      const token = alice["x-forwarded-access-token"]!
      const shown: Array<unknown> = [yield* whoami(alice), yield* ForwardedHeaders.decode(alice)]
      for (const fault of [{ kind: "drop" }, { kind: "answer", status: 403, body: "no" }] as const) {
        const bob = yield* headers("bob@example.com")
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* misbehave({ path: me, ...fault })
            const exit = yield* Effect.exit(whoami(bob))
            assert.isTrue(Exit.isFailure(exit))
            assert.notInclude(everything(exit), bob["x-forwarded-access-token"]!)
          })
        )
      }
      for (const value of [...shown, service, service.identityVerifier]) assert.notInclude(everything(value), token)
    })
  )
})
