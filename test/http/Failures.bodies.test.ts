import { assert, layer } from "@effect/vitest"
import { Failures, Middleware } from "effect-databricks"
import * as App from "effect-databricks/App"
import { TestContext } from "effect-databricks/testing"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import * as Http from "node:http"

interface Tree {
  readonly name: string
  readonly children: ReadonlyArray<Tree>
}

const Tree = Schema.Struct({
  name: Schema.String,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
})

const payloads = {
  "/record": Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Number])),
  "/struct": Schema.Struct({ a: Schema.Int, at: Schema.Date, of: Schema.Array(Schema.Literals(["x", "y"])) }),
  "/json": Schema.Json,
  "/unknown": Schema.Unknown,
  "/tree": Tree
} as const

const paths = ["/record", "/struct", "/json", "/unknown", "/tree"] as const

class Bodies extends HttpApiGroup.make("bodies").add(
  HttpApiEndpoint.post("record", "/record", { payload: payloads["/record"] }),
  HttpApiEndpoint.post("struct", "/struct", { payload: payloads["/struct"] }),
  HttpApiEndpoint.post("json", "/json", { payload: payloads["/json"] }),
  HttpApiEndpoint.post("unknown", "/unknown", { payload: payloads["/unknown"] }),
  HttpApiEndpoint.post("tree", "/tree", { payload: payloads["/tree"] })
) {}

class Api extends HttpApi.make("test").add(Bodies).middleware(Failures) {}

const BodiesLive = HttpApiBuilder.group(Api, "bodies", (handlers) =>
  handlers
    .handle("record", () => Effect.void)
    .handle("struct", () => Effect.void)
    .handle("json", () => Effect.void)
    .handle("unknown", () => Effect.void)
    .handle("tree", () => Effect.void)
)

class Port extends Context.Service<Port, number>()("test/Port") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(HttpServer.HttpServer, ({ address }) => (address._tag === "UnixPathAddress" ? 0 : address.port))
  ).pipe(
    Layer.provideMerge(
      HttpRouter.serve(
        HttpApiBuilder.layer(Api).pipe(Layer.provide(BodiesLive), Layer.provide(Middleware.layerFailures)),
        {
          disableListenLog: true,
          disableLogger: true
        }
      )
    ),
    Layer.provide(App.layerHttpServer({ port: 0, host: "127.0.0.1" })),
    Layer.provide(TestContext.layer())
  )
}

const post = (path: string, body: Buffer, type: string) =>
  Effect.flatMap(Port, (port) =>
    Effect.callback<{ readonly status: number; readonly type: string | undefined; readonly text: string }, Error>(
      (resume) => {
        const request = Http.request({
          port,
          host: "127.0.0.1",
          method: "POST",
          path,
          headers: { "content-length": body.length, ...(type !== "" && { "content-type": type }) }
        })
        request.on("error", (error) => resume(Effect.fail(error)))
        request.on("response", (response) => {
          let text = ""
          response.setEncoding("utf8").on("data", (chunk) => (text += chunk))
          response.on("end", () =>
            resume(Effect.succeed({ status: response.statusCode ?? 0, type: response.headers["content-type"], text }))
          )
        })
        request.end(body)
        return Effect.sync(() => request.destroy())
      }
    )
  )

const Failed = Schema.fromJsonString(Schema.Struct({ _tag: Schema.String, message: Schema.String }))

/** What every answer to a bad body is. */
const refused = Effect.fnUntraced(function* (path: string, body: Buffer, type: string) {
  const answer = yield* post(path, body, type)
  if (answer.status < 300) return answer.status
  assert.isTrue(answer.status >= 400 && answer.status < 500, `${path} ${answer.status} ${answer.text}`)
  assert.strictEqual(answer.type, "application/json")
  assert.isBelow(answer.text.length, 4_000)
  const said = yield* Schema.decodeUnknownEffect(Failed)(answer.text)
  assert.isBelow(said.message.length, 502)
  assert.notMatch(said.message, /[\r\n]|\bat .*\.ts|node_modules/)
  return answer.status
})

const json = "application/json"

const Key = Schema.Literals([
  "a",
  "at",
  "of",
  "name",
  "children",
  "__proto__",
  "constructor",
  "toString",
  "",
  "x".repeat(2_000)
])

const Fragment = Schema.Union([
  Schema.Literals([
    '{"a":1',
    "]",
    "null",
    "1e999",
    "-",
    '"\\ud800"',
    "{}",
    "[]",
    '{"name":"","children":[',
    "\ufeff",
    "\0"
  ]),
  Schema.Json
])

layer(Port.layer, { excludeTestServices: true })("Failures", (it) => {
  it.effect.prop(
    "takes any bytes of any content type, or refuses them with a 4xx and a short message",
    {
      path: Schema.Literals(paths),
      bytes: Schema.Uint8Array,
      fragments: Schema.Array(Fragment).check(Schema.isMaxLength(4)),
      type: Schema.Literals([
        "",
        json,
        json,
        json,
        "application/json; charset=utf-16",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "*/*",
        "a",
        "application/octet-stream"
      ])
    },
    ({ bytes, fragments, path, type }) =>
      Effect.gen(function* () {
        const text = fragments.map((_) => (typeof _ === "string" ? _ : JSON.stringify(_))).join("")
        yield* refused(path, Buffer.from(bytes), type)
        yield* refused(path, Buffer.concat([Buffer.from(text), Buffer.from(bytes)]), type)
        yield* refused(path, Buffer.from(text), type)
      })
  )

  it.effect.prop(
    "takes JSON with any keys, or refuses it, and leaves Object.prototype unchanged",
    { path: Schema.Literals(paths), entries: Schema.Array(Schema.Tuple([Key, Schema.Json])), again: Key },
    ({ again, entries, path }) =>
      Effect.gen(function* () {
        const members = entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)
        const object = `{${members.join(",")}}`
        yield* refused(path, Buffer.from(object), json)
        yield* refused(path, Buffer.from(`{${JSON.stringify(again)}:${object}}`), json)
        yield* refused(path, Buffer.from(`[${object}]`), json)
        assert.deepStrictEqual(Object.keys(Object.prototype), [])
      })
  )

  const nested = Effect.fnUntraced(function* (path: (typeof paths)[number], send: typeof refused | typeof post) {
    for (const [open, inner, close] of [
      ["[", "", "]"],
      ['{"a":', "1", "}"],
      ['{"name":"","children":[', "", "]}"]
    ] as const) {
      const depth = Math.floor(800_000 / (open.length + close.length))
      yield* send(path, Buffer.from(open.repeat(depth) + inner + close.repeat(depth)), json)
      yield* send(path, Buffer.from(open.repeat(depth)), json)
    }
  })

  for (const path of paths.filter((_) => _ !== "/tree")) {
    it.effect(`takes 800 kB of nested JSON at ${path}, or refuses it with a 4xx`, () => nested(path, refused))
  }

  // Effect decodes a recursive schema by recursion: what is too deep for the stack is a defect, and a 500.
  it.effect("keeps serving after JSON nested deeper than a recursive schema can be decoded", () =>
    Effect.gen(function* () {
      yield* nested("/tree", post)
      assert.strictEqual(yield* refused("/tree", Buffer.from('{"name":"","children":[]}'), json), 204)
    })
  )

  it.effect("answers 413 to every body over 1 MB", () =>
    Effect.gen(function* () {
      for (const path of paths) {
        assert.strictEqual(yield* refused(path, Buffer.alloc(1_000_001, " "), json), 413)
      }
    })
  )
})
