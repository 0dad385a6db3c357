import { assert, describe, it } from "@effect/vitest"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Deferred, Effect, Exit, Option, Redacted, Schema } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { ForwardedHeaders } from "effect-databricks"
import * as Http from "node:http"
import { inspect } from "node:util"

const names = {
  user: "x-forwarded-user",
  email: "x-forwarded-email",
  preferredUsername: "x-forwarded-preferred-username",
  accessToken: "x-forwarded-access-token"
} as const

const all = {
  "x-forwarded-user": "1081964970114387@7474657291520070",
  "x-forwarded-email": "alice@example.com",
  "x-forwarded-preferred-username": "Alice Ångström",
  "x-forwarded-access-token": "eyJh.eyJz.c2ln"
}

const plain = ({ accessToken, ...rest }: ForwardedHeaders.ForwardedHeaders) => ({
  ...rest,
  accessToken: accessToken && Redacted.value(accessToken)
})

const decode = (source: unknown) =>
  // The tests also pass sources that the type excludes.
  Effect.map(ForwardedHeaders.decode(source as ForwardedHeaders.Source), plain)

const expected = (headers: Record<string, string>) => ({
  user: headers[names.user],
  email: headers[names.email],
  preferredUsername: headers[names.preferredUsername],
  accessToken: headers[names.accessToken]
})

/** Sends a request over HTTP, and returns it as Effect and as Node present it to a server. */
const received = (headers: Record<string, string | Array<string>>) =>
  Effect.gen(function* () {
    const seen = yield* Deferred.make<{ effect: HttpServerRequest.HttpServerRequest; node: unknown }>()
    const node = Http.createServer()
    const server = yield* NodeHttpServer.make(() => node, { host: "127.0.0.1", port: 0 })
    let message: Http.IncomingMessage | undefined
    node.prependListener("request", (_) => {
      message = _
    })
    yield* server.serve(
      Effect.gen(function* () {
        yield* Deferred.succeed(seen, { effect: yield* HttpServerRequest.HttpServerRequest, node: message })
        return HttpServerResponse.empty()
      })
    )
    const { port } = node.address() as { readonly port: number } // it listens on TCP
    Http.get({ host: "127.0.0.1", port, headers, agent: false }, (answer) => answer.resume())
    return yield* Deferred.await(seen)
  })

describe("ForwardedHeaders.decode", () => {
  it.live("reads the headers of an Effect, Node or Express request", () =>
    Effect.gen(function* () {
      const { effect, node } = yield* received(all)
      assert.deepStrictEqual(yield* decode(effect), expected(all))
      assert.deepStrictEqual(yield* decode(effect.headers), expected(all))
      assert.deepStrictEqual(yield* decode(node), expected(all))
      const express = Object.assign(Object.create(Object(node)), { get: () => "somebody else" })
      assert.deepStrictEqual(yield* decode(express), expected(all))
    }).pipe(Effect.scoped)
  )

  it.live("rejects a header that a client sent twice", () =>
    Effect.gen(function* () {
      const { effect, node } = yield* received({ ...all, "x-forwarded-user": ["alice", "bob"] })
      for (const source of [effect, node]) {
        const error = yield* Effect.flip(decode(source))
        assert.match(error.message, /^The header x-forwarded-user was sent twice/)
      }
    }).pipe(Effect.scoped)
  )

  it.effect("reads a web Request and web Headers", () =>
    Effect.gen(function* () {
      const request = new Request("https://app/", { headers: all })
      assert.deepStrictEqual(yield* decode(request), expected(all))
      assert.deepStrictEqual(yield* decode(request.headers), expected(all))
      request.headers.append("X-Forwarded-Access-Token", "another")
      assert.strictEqual((yield* Effect.flip(decode(request)))._tag, "AuthenticationError")
    })
  )

  it.effect("reads a record or Map with header names in any letter case", () =>
    Effect.gen(function* () {
      const shouting = Object.fromEntries(Object.entries(all).map(([name, value]) => [name.toUpperCase(), value]))
      assert.deepStrictEqual(yield* decode(shouting), expected(all))
      assert.deepStrictEqual(yield* decode({ "X-Forwarded-User": ["alice"], headers: "of no interest" }), {
        ...expected({}),
        user: "alice"
      })
      assert.deepStrictEqual(yield* decode(new Map(Object.entries(all))), expected(all))
    })
  )

  it.effect("treats a missing or blank header as absent", () =>
    Effect.gen(function* () {
      for (const blank of [undefined, null, "", "  ", []]) {
        for (const name of Object.values(names)) {
          const { [name]: _, ...others } = all
          assert.deepStrictEqual(yield* decode({ ...all, [name]: blank }), expected(others))
        }
      }
      assert.deepStrictEqual(yield* decode(new Request("https://app/")), expected({}))
    })
  )

  it.effect("omits a preferred username that it would reject in another header", () =>
    Effect.gen(function* () {
      const { [names.preferredUsername]: _, ...others } = all
      for (const display of ["Doe, Jane", ["Jane", "Joe"], "Jane\nDoe", "J".repeat(20_000), 7]) {
        assert.deepStrictEqual(yield* decode({ ...all, [names.preferredUsername]: display }), expected(others))
      }
    })
  )

  const refused: ReadonlyArray<readonly [string, unknown]> = [
    ["two values joined by a comma", { "x-forwarded-user": "alice, bob" }],
    ["an array of two values", { "x-forwarded-user": ["alice", "alice"] }],
    ["an array within an array", { "x-forwarded-user": [["alice"]] }],
    ["a header in two letter cases", { "x-forwarded-user": "alice", "X-Forwarded-User": "bob" }],
    ["a value with a line break", { "x-forwarded-user": "alice\r\nx-forwarded-email: bob@example.com" }],
    ["a value with a NUL", { "x-forwarded-email": "alice@example.com\0" }],
    ["a value with a DEL", { "x-forwarded-email": "alice\x7f" }],
    ["a token longer than 16 KiB", { "x-forwarded-access-token": "a".repeat(16 * 1024 + 1) }],
    ["a number", { "x-forwarded-user": 7 }],
    ["a token with a space", { "x-forwarded-access-token": "ab cd" }],
    ["a token with a control character", { "x-forwarded-access-token": "ab\ncd" }],
    ["a token with characters that are not ASCII", { "x-forwarded-access-token": "tökén→" }]
  ]
  for (const [what, headers] of refused) {
    it.effect(`rejects ${what}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(decode(headers))
        assert.strictEqual(error._tag, "AuthenticationError")
        assert.match(error.message, /^The header x-forwarded-[a-z-]+ /)
        for (const value of Object.values(Object(headers))) assert.notInclude(error.message, String(value))
      })
    )
  }

  it.effect("accepts a token of 16 KiB", () =>
    Effect.gen(function* () {
      const token = "a".repeat(16 * 1024)
      assert.strictEqual((yield* decode({ "x-forwarded-access-token": token })).accessToken, token)
    })
  )

  const text = Schema.Union([
    Schema.String,
    Schema.Literals([
      "alice",
      "bob@example.com",
      "",
      " ",
      "a, b",
      " a ",
      "a\nb",
      "\0",
      "é",
      "\ud800",
      "x".repeat(20_000)
    ])
  ])
  const spelling = Schema.Literals(Object.values(names).flatMap((name) => [name, name.toUpperCase()]))
  const entry = Schema.Tuple([
    Schema.Union([spelling, Schema.Literals(["headers", "get", "__proto__"]), Schema.String]),
    Schema.Union([text, Schema.Array(text), Schema.Unknown, Schema.Record(spelling, text)])
  ])

  it.effect.prop(
    "never dies on any source, and returns accepted values unchanged",
    { entries: Schema.Array(entry), shape: Schema.Literals(["record", "request", "map", "bare"]), any: Schema.Unknown },
    ({ any, entries, shape }) =>
      Effect.gen(function* () {
        const record = Object.fromEntries(entries)
        const source = { record, request: { headers: record }, map: new Map(entries), bare: any }[shape]
        const exit = yield* Effect.exit(decode(source))
        if (Exit.isFailure(exit)) {
          assert.strictEqual(Option.getOrThrow(Exit.findErrorOption(exit))._tag, "AuthenticationError")
          return
        }
        const accepted = Object.values(exit.value).filter((_) => _ !== undefined)
        for (const value of accepted)
          assert.include(
            entries.flatMap((_) => _[1]),
            value
          )
        for (const value of accepted) assert.notMatch(value, /[,\n\0]|^\s*$|x{20000}/)
      }),
    { arbitrary: { runs: 1_000 } }
  )

  it.effect("redacts the token when its result is printed", () =>
    Effect.gen(function* () {
      const decoded = yield* ForwardedHeaders.decode(all)
      assert.notInclude(inspect(decoded, { depth: 9, showHidden: true }) + JSON.stringify(decoded), "eyJh")
    })
  )
})
