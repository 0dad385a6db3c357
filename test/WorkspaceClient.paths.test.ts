import { assert, layer } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { getWorkspaceClient } from "effect-databricks"
import { reasonOf } from "./fixtures/sqlWarehouse.ts"
import { type Seen, wire } from "./fixtures/wire.ts"

// Parts that redirect a path in some server or client.
const Part = Schema.Literals([
  ..."/\\.@:?#%;&= \t\r\n\0aé\ud800",
  "..",
  "%2e",
  "%2E",
  "%2f",
  "%5C",
  "%252e",
  "%00",
  "%zz",
  "//",
  "http://",
  "\u2024",
  "．",
  "\ud83d\ude00"
])

const Id = Schema.Array(Part).check(Schema.isMaxLength(8))

/** The segments of a request's path for a server that decodes it once. */
const segmentsOf = ({ url }: Seen) =>
  url
    .split("?", 1)[0]!
    .split(/\/|%2f|%5c/i)
    .map((segment) => segment.replaceAll(/%2e/gi, "."))

/** The workspace, and a server beside it that must receive no request. */
class Wires extends Context.Service<Wires, Record<"seen" | "seenElsewhere", ReadonlyArray<Seen>> & { host: string }>()(
  "test/Wires"
) {
  static readonly layer = Layer.unwrap(
    Effect.gen(function* () {
      const { host, seen: seenElsewhere } = yield* wire((response) => response.end("{}"))
      const { layer, seen } = yield* wire((response) => response.end("{}"))
      return Layer.merge(layer, Layer.succeed(Wires, { seen, seenElsewhere, host }))
    })
  )
}

const things = "/api/2.1/things/"

const ways = {
  request: {
    api: things,
    get: (id: string) =>
      Effect.asVoid(Effect.flatMap(getWorkspaceClient, (_) => _.request(HttpClientRequest.get(things + id))))
  },
  use: {
    api: "/api/2.0/sql/alerts/",
    get: (id: string) =>
      Effect.asVoid(Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.alerts.get({ id }))))
  }
}

layer(Wires.layer)("WorkspaceClient with an untrusted id in a path", (it) => {
  for (const [way, { api, get }] of Object.entries(ways)) {
    it.effect.prop(`sends to the API that the path names, or sends nothing (${way})`, { id: Id }, ({ id }) =>
      Effect.gen(function* () {
        const { host, seen, seenElsewhere } = yield* Wires
        const before = seen.length
        for (const text of [id.join(""), id.join("").replace("http://", `${host}/`)]) {
          const exit = yield* Effect.exit(get(text))
          if (Exit.isFailure(exit)) assert.strictEqual((yield* reasonOf(exit))._tag, "InvalidRequestError")
        }
        for (const request of seen.slice(before)) {
          assert.isTrue(request.url.startsWith(api), request.url)
          for (const segment of segmentsOf(request)) assert.notInclude([".", ".."], segment)
        }
        assert.deepStrictEqual(seenElsewhere, [])
      })
    )

    it.effect(`refuses dot segments, backslashes and control characters only (${way})`, () =>
      Effect.gen(function* () {
        const { seen } = yield* Wires
        for (const id of ["7", "a.b", "...", ".a", "a..b", "a%2Fb", "ü b", "@x", ":1", "%252e%252e", "a/b", "x;..y"]) {
          yield* get(id)
          assert.strictEqual(decodeURI(seen.at(-1)!.url), decodeURI(api + id))
        }
        for (const id of [
          "..",
          ".",
          "..  ",
          "../x",
          "a/..",
          "a/./b",
          "%2e%2E",
          ".%2e/x",
          "a\\b",
          "a\n",
          "..%2fx",
          "%5c..%5C"
        ]) {
          const reason = yield* reasonOf(get(id))
          assert.include(reason.message, `a segment "." or "..", a backslash or a control character`, id)
        }
      })
    )
  }
})
