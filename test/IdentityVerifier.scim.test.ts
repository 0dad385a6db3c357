import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Layer } from "effect"
import { asUser, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import type { IncomingMessage } from "node:http"
import { connect } from "node:net"
import { alice, requestOf } from "./fixtures/people.ts"
import * as RawServer from "./fixtures/rawServer.ts"
import { me } from "./fixtures/start.ts"
import { serviceContext } from "./fixtures/workspace.ts"

const people = ["jürgen@example.com", "ŁUKASZ@example.com", "日本@example.com", "zoë@example.com"]

const Workspace = serviceContext().pipe(
  Layer.provideMerge(LocalWorkspace.layer({ users: [alice, ...people].map((userName) => ({ userName })) }))
)

const verified = (request: Parameters<typeof asUser>[0]) => Effect.provide(UserContext, asUser(request))

/** As Node and web Headers give the UTF-8 bytes of a header. */
const onWire = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value).toString("latin1")]))

/** The request that a real server of Node receives when these headers arrive as UTF-8. */
const received = (headers: Record<string, string>) =>
  Effect.gen(function* () {
    const arrived = yield* Deferred.make<IncomingMessage>()
    const { port } = yield* RawServer.http((request, response) => {
      response.end()
      Deferred.doneUnsafe(arrived, Effect.succeed(request))
    })
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    connect(port, "127.0.0.1").end(["GET / HTTP/1.1", "host: app", ...lines, "", ""].join("\r\n"), "utf8")
    return yield* Deferred.await(arrived)
  })

layer(Workspace)("IdentityVerifier", (it) => {
  it.effect("lets a person in whatever SCIM Me says of their e-mail addresses and groups", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const shapes = [
        [undefined, undefined],
        [null, alice],
        [[], alice],
        [[null], alice],
        [[{}], alice],
        [[{ value: null }], alice],
        [[{ value: "" }], alice],
        [[{ value: 7 }, null, { value: "a@example.com" }], "a@example.com"],
        [["b@example.com"], "b@example.com"],
        [{ value: "c@example.com" }, "c@example.com"],
        ["d@example.com", "d@example.com"],
        [{}, alice],
        [false, alice],
        [7, alice]
      ] as const
      for (const [emails, email = alice] of shapes) {
        for (const groups of [undefined, null, [null], "x"]) {
          const request = yield* requestOf(alice)
          const [id] = request["x-forwarded-user"]!.split("@")
          const body = JSON.stringify({ id, userName: alice, active: true, emails, groups, roles: null })
          yield* misbehave({ kind: "answer", status: 200, body, path: me, times: 1 })
          const caller = yield* verified(request)
          assert.deepStrictEqual([caller.userName, caller.email], [alice, email], body)
        }
      }
    }).pipe(Effect.scoped)
  )

  for (const person of people) {
    it.effect(`lets ${person} in, whose headers arrive as UTF-8`, () =>
      Effect.gen(function* () {
        const request = yield* requestOf(person)
        assert.strictEqual((yield* verified(onWire(request))).userName, person)
        assert.strictEqual((yield* verified(request)).userName, person, "already decoded")
        assert.strictEqual((yield* verified(yield* received(request))).userName, person, "by Node's server")
        const headers = new Headers(onWire(yield* requestOf(person)))
        assert.strictEqual((yield* verified({ headers })).userName, person, "web Headers")
        const named = { ...request, "x-forwarded-user": person.toUpperCase().normalize("NFD") }
        assert.strictEqual((yield* verified(onWire(named))).id, named["x-forwarded-user"])
      }).pipe(Effect.scoped)
    )
  }

  it.effect("refuses another person's e-mail address in UTF-8, and one that only looks like theirs", () =>
    Effect.gen(function* () {
      const request = yield* requestOf("zoë@example.com")
      for (const email of ["jürgen@example.com", "zoe@example.com", "zoé@example.com", "zоë@example.com"]) {
        const error = yield* Effect.flip(verified(onWire({ ...request, "x-forwarded-email": email })))
        assert.strictEqual(error._tag, "IdentityMismatchError", email)
      }
    })
  )
})
