import { assert, describe, it, layer } from "@effect/vitest"
import {
  ForwardedHeaders,
  IdentityVerifier,
  Lakebase,
  Middleware,
  Operation,
  OperationCache,
  ServiceContext,
  UserContext
} from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Duration, Effect, Layer, Redacted } from "effect"
import { HttpClientRequest, HttpClientResponse, HttpRouter, HttpServerResponse } from "effect/http"
import { InvalidCredentialError, make as databricksError } from "../../src/DatabricksError.ts"
import { lakebase, whoThrough } from "../fixtures/lakebaseClient.ts"
import { pidOf } from "../fixtures/lakebaseFaults.ts"
import { me } from "../fixtures/start.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { serve, Served } from "../http/harness.ts"

let reports = 0
const report = UserContext.useSync(({ userName }) => `${userName} ${++reports}`).pipe(
  Operation.execute({ name: "report", cache: { key: [] } })
)

/** Whom the database sees, on which of its connections, and how many there are of users. */
const session = Effect.gen(function* () {
  const sql = yield* Lakebase.user
  const seen = yield* Effect.all([whoThrough(sql), pidOf(sql)])
  return [...seen, (yield* Lakebase.Lakebase.use(({ stats }) => stats)).users.total]
})

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/me",
    UserContext.useSync(({ userName }) => HttpServerResponse.text(userName))
  ),
  HttpRouter.add("GET", "/report", Effect.map(report, HttpServerResponse.text)),
  HttpRouter.add("GET", "/session", Effect.flatMap(session, HttpServerResponse.json))
).pipe(Layer.provide(Middleware.asUser.layer), Layer.provide(Middleware.layerFailures))

const Services = Layer.merge(OperationCache.layer(), lakebase())

const asked = LocalWorkspace.LocalWorkspace.use(({ requests }) =>
  Effect.map(requests, (_) => _.filter(({ path }) => path === me).length)
)

/** What `effect` gives, and how often the workspace was asked who somebody is meanwhile. */
const questions = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const before = yield* asked
    const answer = yield* effect
    return [(yield* asked) - before, answer] as const
  })

const get = (headers: Record<string, string>, path = "/me") => Served.use(({ call }) => call("GET", path, { headers }))

const misbehave = (fault: LocalWorkspace.Misbehaviour) =>
  LocalWorkspace.LocalWorkspace.use((_) => _.misbehave({ ...fault, path: me }))

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Middleware.asUser", (it) => {
  it.layer(serve(Routes, { services: Services }))((it) => {
    it.effect("asks the workspace once per user when 60 first requests arrive at once", () =>
      Effect.gen(function* () {
        const people = [yield* requestOf(alice), yield* requestOf(bob)]
        const calls = Array.from({ length: 60 }, (_, index) => get(people[index % 2]!))
        const [times, answers] = yield* questions(Effect.all(calls, { concurrency: "unbounded" }))
        assert.deepStrictEqual(
          answers.map(({ text }) => text),
          Array.from({ length: 60 }, (_, index) => [alice, bob][index % 2])
        )
        assert.strictEqual(times, 2)
      })
    )

    it.effect("refuses a repeated wrong token, and asks the workspace once in 5 seconds", () =>
      Effect.gen(function* () {
        const wrong = { ...(yield* requestOf(alice)), "x-forwarded-access-token": "wrong" }
        const [took, [times, answers]] = yield* Effect.timed(
          questions(Effect.forEach(Array.from({ length: 100 }), () => get(wrong), { concurrency: 10 }))
        )
        assert.deepStrictEqual(new Set(answers.map(({ status }) => status)), new Set([401]))
        assert.isAtLeast(times, 1)
        // A refusal is remembered for 5 seconds.
        assert.isAtMost(times, 1 + Math.floor(Duration.toSeconds(took) / 5))
      })
    )

    const outages: ReadonlyArray<LocalWorkspace.Misbehaviour> = [
      { kind: "drop" },
      { kind: "truncate" },
      { kind: "answer", status: 200, headers: { "content-type": "text/html" }, body: "<html>login</html>" },
      { kind: "answer", status: 404 },
      // More than a caller is kept waiting for.
      ...[429, 503].map((status) => ({ kind: "answer" as const, status, headers: { "retry-after": "60" } })),
      ...[500, 502, 504].map((status) => ({ kind: "answer" as const, status }))
    ]
    it.effect("serves verified tokens during an outage, and answers 503 with Retry-After to others", () =>
      Effect.gen(function* () {
        const proven = yield* requestOf(alice)
        const unknown = yield* requestOf(bob)
        yield* get(proven)
        for (const outage of outages) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* misbehave(outage)
              const [times, answers] = yield* questions(Effect.all([get(proven), get(unknown), get(proven)]))
              assert.deepStrictEqual(
                answers.map(({ headers, status, text }) => [status, status === 503 ? headers["retry-after"] : text]),
                [
                  [200, alice],
                  [503, "5"],
                  [200, alice]
                ]
              )
              assert.isAtMost(times, 3)
            })
          )
        }
        // None of it is held against him.
        assert.strictEqual((yield* get(unknown)).text, bob)
      })
    )

    it.effect("refuses alice's token under bob's headers, and leaves bob's cache and connection alone", () =>
      Effect.gen(function* () {
        const ofBob = yield* requestOf(bob)
        const forged = {
          ...ofBob,
          "x-forwarded-access-token": (yield* requestOf(alice))["x-forwarded-access-token"]!
        }
        const paths = ["/me", "/report", "/session"]
        const forge = Effect.gen(function* () {
          for (const path of paths) {
            const { json, status } = yield* get(forged, path)
            assert.deepStrictEqual([status, json._tag], [403, "IdentityMismatchError"])
          }
        })
        yield* forge
        const [first, before] = yield* questions(Effect.forEach(paths, (path) => get(ofBob, path)))
        assert.strictEqual(first, 1)
        const [who, , connections] = before[2]!.json
        assert.deepStrictEqual([before[0]!.text, who, connections], [bob, bob, 1])
        yield* forge
        const [again, after] = yield* questions(Effect.forEach(paths, (path) => get(ofBob, path)))
        assert.strictEqual(again, 0)
        // The same kept answer, and the same connection.
        assert.deepStrictEqual(
          after.map(({ text }) => text),
          before.map(({ text }) => text)
        )
      })
    )

    it.effect("refuses alice's token under bob's x-forwarded-user, and runs as alice under his display name", () =>
      Effect.gen(function* () {
        const ofBob = yield* requestOf(bob)
        const { "x-forwarded-email": _, ...ofAlice } = yield* requestOf(alice)
        const paths = ["/report", "/session"]
        const before = yield* Effect.forEach(paths, (path) => get(ofBob, path))
        for (const path of paths) {
          const refused = yield* get({ ...ofAlice, "x-forwarded-user": ofBob["x-forwarded-user"]! }, path)
          assert.deepStrictEqual([refused.status, refused.json._tag], [403, "IdentityMismatchError"])
          const answer = yield* get({ ...ofAlice, "x-forwarded-user": "bob" }, path)
          assert.include(answer.text, alice)
          assert.notInclude(answer.text, bob)
        }
        const after = yield* Effect.forEach(paths, (path) => get(ofBob, path))
        assert.deepStrictEqual([after[0]!.text, after[1]!.json[1]], [before[0]!.text, before[1]!.json[1]])
      })
    )
  })
})

/** A workspace where every token that begins with "good" is one person's, and any other nobody's. */
const directory = Effect.gen(function* () {
  let asked = 0
  // A body can be read once.
  const person = Effect.sync(() =>
    HttpClientResponse.fromWeb(HttpClientRequest.get("/"), Response.json({ id: "1", userName: "somebody" }))
  )
  const nobody = databricksError(new InvalidCredentialError({ message: "no" }))
  const { principal } = yield* ServiceContext.ServiceContext
  const { verify } = yield* IdentityVerifier.make(
    ({ authorization }) =>
      Effect.flatMap(authorization, (value) => {
        asked++
        return Redacted.value(value).startsWith("Bearer good") ? person : Effect.fail(nobody)
      }),
    principal
  )
  const of = Effect.fnUntraced(function* (token: string) {
    const headers = yield* ForwardedHeaders.decode({ "x-forwarded-user": "1@1", "x-forwarded-access-token": token })
    assert(headers instanceof ForwardedHeaders.WithToken)
    return yield* Effect.exit(verify(headers))
  })
  /** How often it is asked for these. */
  return (...tokens: ReadonlyArray<string>) =>
    Effect.suspend(() => {
      const before = asked
      return Effect.map(Effect.forEach(tokens, of, { discard: true }), () => asked - before)
    })
})

const many = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name}-${index}`)

describe("IdentityVerifier.make", () => {
  it.effect("keeps 10,000 verified tokens, and forgets the least recently used first", () =>
    Effect.gen(function* () {
      const asks = yield* directory
      const good = many("good", 10_000)
      assert.strictEqual(yield* asks(...good), 10_000)
      assert.strictEqual(yield* asks(...good), 0)
      yield* asks("good-0", "good")
      assert.strictEqual(yield* asks("good", "good-0", "good-2", "good-9999"), 0)
      assert.strictEqual(yield* asks("good-1"), 1)
    }).pipe(Effect.provide(TestContext.layer()))
  )

  it.effect("keeps a verified token after 11,000 wrong ones, of which it remembers 1,000", () =>
    Effect.gen(function* () {
      const asks = yield* directory
      yield* asks("good")
      const wrong = many("wrong", 11_000)
      assert.strictEqual(yield* asks(...wrong), 11_000)
      assert.strictEqual(yield* asks(...wrong.slice(-1_000)), 0)
      assert.strictEqual(yield* asks("good"), 0)
      assert.strictEqual(yield* asks(wrong.at(-1_001)!), 1)
    }).pipe(Effect.provide(TestContext.layer()))
  )
})
