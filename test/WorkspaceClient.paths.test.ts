import { assert, layer } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { getWorkspaceClient } from "effect-databricks"
import { partsOfPath } from "./fixtures/paths.ts"
import { reasonOf } from "./fixtures/sqlWarehouse.ts"
import { type Seen, wire } from "./fixtures/wire.ts"

const Id = partsOfPath()

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

    it.effect(`refuses dot segments, backslashes, control characters and lone surrogates (${way})`, () =>
      Effect.forEach(
        ["a\ud83d", "\ude00.txt", "..", ".", "../x", "a/..", "a/./b", "a\\b", "a\n", "..\\..", "x/../..", "\u0000"],
        (id) =>
          Effect.map(reasonOf(get(id)), ({ message }) =>
            assert.include(message, `a segment "." or "..", a backslash, a control character`, id)
          )
      )
    )
  }

  it.effect("sends the path of a request as it is, and refuses dot segments in any spelling (request)", () =>
    Effect.gen(function* () {
      const { seen } = yield* Wires
      const { api, get } = ways.request
      for (const id of ["7", "a.b", "...", ".a", "a..b", "a%2Fb", "ü b", "@x", ":1", "%252e%252e", "a/b", "x;..y"]) {
        yield* get(id)
        assert.strictEqual(decodeURI(seen.at(-1)!.url), decodeURI(api + id))
      }
      for (const id of ["..  ", "%2e%2E", ".%2e/x", "..%2fx", "%5c..%5C"]) {
        assert.include((yield* reasonOf(get(id))).message, `a segment "." or ".."`, id)
      }
    })
  )

  it.effect("sends an id that holds %, a space or another sign as the server decodes it (use)", () =>
    Effect.gen(function* () {
      const { seen } = yield* Wires
      const { api, get } = ways.use
      for (const id of [
        "a%20b.txt",
        "100%",
        "%",
        "%2F%3F%23",
        "%25",
        "a%252Fb",
        "%2e%2e",
        "a+b",
        "a b ",
        " ",
        "..  ",
        "ü/€/😀",
        "x;v=1,2&y=3",
        "a?b#c",
        "@:!$'()*~",
        `"<>[]^|{}`
      ]) {
        yield* get(id)
        const { url } = seen.at(-1)!
        assert.isTrue(url.startsWith(api), url)
        assert.strictEqual(decodeURIComponent(url.slice(api.length)), id)
      }
    })
  )

  it.effect.prop("sends any id so that the server decodes it to the same (use)", { id: Schema.String }, ({ id }) =>
    Effect.gen(function* () {
      const { seen } = yield* Wires
      const { api, get } = ways.use
      const exit = yield* Effect.exit(get(id))
      if (Exit.isFailure(exit)) return
      assert.strictEqual(decodeURIComponent(seen.at(-1)!.url.slice(api.length)), id.toWellFormed())
    })
  )
})
