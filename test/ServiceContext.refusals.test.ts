import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { LocalWorkspace } from "effect-databricks/testing"
import * as Http from "node:http"
import * as Net from "node:net"
import { discovery, me, sentence, start } from "./fixtures/start.ts"

const Workspace = LocalWorkspace.LocalWorkspace

/** The address of a server that accepts connections and says nothing, and how many it holds. */
const silence = Effect.gen(function* () {
  const sockets = new Set<Net.Socket>()
  const server = Net.createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => {}).on("close", () => sockets.delete(socket))
  })
  const arrived = new Promise<void>((resolve) => {
    server.on("connection", (socket) => socket.on("data", () => resolve()))
  })
  yield* Effect.acquireRelease(
    Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
    () => Effect.sync(() => server.close())
  )
  const { port } = server.address() as Net.AddressInfo // it listens on TCP
  const idle = Effect.promise(async () => {
    while (sockets.size > 0) await new Promise((resolve) => setImmediate(resolve))
  })
  return { host: `http://127.0.0.1:${port}`, arrived: Effect.promise(() => arrived), idle }
})

/** A workspace of one route each, for answers that the local workspace never gives. */
const answering = (routes: Record<string, (origin: string) => [body: unknown, headers?: Record<string, string>]>) =>
  Effect.gen(function* () {
    let origin = ""
    const server = Http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      const [body, headers] = routes[request.url?.split("?")[0] ?? ""]?.(origin) ?? [{}]
      response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(body))
    })
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
      () => Effect.sync(() => server.close().closeAllConnections())
    )
    const { port } = server.address() as Net.AddressInfo // it listens on TCP
    origin = `http://127.0.0.1:${port}`
    return origin
  })

layer(LocalWorkspace.layer())("ServiceContext", (it) => {
  describe("a wrong setting", () => {
    it.effect("has its own sentence", () =>
      Effect.gen(function* () {
        const { env, host, servicePrincipal, token } = yield* Workspace
        const id = { DATABRICKS_CLIENT_ID: servicePrincipal.clientId }
        const secret = { DATABRICKS_CLIENT_SECRET: Redacted.value(servicePrincipal.clientSecret) }
        const DATABRICKS_HOST = host
        const DATABRICKS_TOKEN = Redacted.value(yield* token(servicePrincipal.clientId))
        const hosted = (DATABRICKS_HOST: string) => sentence({ ...id, ...secret, DATABRICKS_HOST })

        const noHost =
          "DATABRICKS_HOST is not set: set it to the workspace's URL or host name, or name a DATABRICKS_CONFIG_PROFILE"
        const HOME = { DATABRICKS_CONFIG_FILE: "/nowhere" }
        assert.strictEqual(yield* sentence({ ...id, ...secret }), noHost)
        assert.strictEqual(yield* sentence(HOME), noHost)
        assert.strictEqual(yield* hosted("no host"), `DATABRICKS_HOST is neither a URL nor a host name: "no host"`)
        assert.strictEqual(
          yield* hosted("http://example.com/x"),
          `DATABRICKS_HOST must begin with https://, or credentials would travel in the open: "http://example.com"`
        )
        assert.strictEqual(
          yield* sentence({ DATABRICKS_HOST, ...id }),
          "DATABRICKS_CLIENT_ID is set and DATABRICKS_CLIENT_SECRET is not: set both, or neither"
        )
        assert.strictEqual(
          yield* sentence({ DATABRICKS_HOST, ...secret }),
          "DATABRICKS_CLIENT_SECRET is set and DATABRICKS_CLIENT_ID is not: set both, or neither"
        )
        assert.strictEqual(
          yield* sentence({ DATABRICKS_HOST, DATABRICKS_CLI_PATH: "/nowhere/databricks" }),
          "There is nothing to sign in with: set DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE"
        )
        assert.strictEqual(
          yield* sentence({ ...env, DATABRICKS_TOKEN }),
          "There is more than one way to sign in (DATABRICKS_TOKEN, DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET): keep one, or choose with DATABRICKS_AUTH_TYPE"
        )
        yield* start({ ...env, DATABRICKS_TOKEN, DATABRICKS_AUTH_TYPE: "pat" })
        assert.strictEqual(
          yield* sentence({ DATABRICKS_HOST, ...id, DATABRICKS_CLIENT_SECRET: "dose1" }),
          `${host} does not accept the service principal's credentials (POST /oidc/v1/token answered 401: Client authentication failed): check DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET`
        )
        const rejected = `${host} does not accept the service principal's credentials (GET ${me} answered 403: Invalid access token): check DATABRICKS_TOKEN`
        assert.strictEqual(yield* sentence({ DATABRICKS_HOST, DATABRICKS_TOKEN: "dapi1" }), rejected)
        const short = Redacted.value(yield* token(servicePrincipal.clientId, { ttl: "1 minute" }))
        yield* start({ DATABRICKS_HOST, DATABRICKS_TOKEN: short })
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* sentence({ DATABRICKS_HOST, DATABRICKS_TOKEN: short }), rejected)
        assert.strictEqual(
          yield* hosted("http://127.0.0.1:1"),
          "http://127.0.0.1:1 cannot be reached (ECONNREFUSED): check DATABRICKS_HOST and the network"
        )
      })
    )

    it.effect(
      "has its own sentence where no host has that name",
      () => {
        const DATABRICKS_HOST = "adb-1.workspace.invalid"
        return Effect.map(
          sentence({ DATABRICKS_HOST, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }),
          (said) =>
            assert.match(
              said,
              /^https:\/\/adb-1.workspace.invalid cannot be reached \((ENOTFOUND|EAI_AGAIN)\): check DATABRICKS_HOST/
            )
        )
      },
      // How long that takes is for the resolver of the machine to say.
      180_000
    )

    const answers = [
      [
        "HTML",
        { status: 200, headers: { "content-type": "text/html" }, body: "<html>" },
        "200 with text/html in place of JSON"
      ],
      ["nothing", { status: 200 }, "200 with an empty body"],
      [
        "half a JSON",
        { status: 200, headers: { "content-type": "application/json" }, body: '{"id":"1","access_token":"eyJ' },
        "200 with JSON that breaks off or is not of the shape it should have"
      ],
      ["404", { status: 404, body: "<html>" }, "404"],
      ["a redirect", { status: 302, headers: { location: "/login.html" } }, "with a redirect (302)"],
      ["500", { status: 500, body: "oops" }, "500: oops"]
    ] as const
    for (const [what, answer, said] of answers) {
      it.effect(`names the endpoint that answers ${what}`, () =>
        Effect.gen(function* () {
          const { env, host, misbehave } = yield* Workspace
          for (const endpoint of [`GET ${discovery}`, "POST /oidc/v1/token", `GET ${me}`]) {
            const path = endpoint.split(" ")[1]!
            const got = yield* Effect.scoped(
              Effect.andThen(misbehave({ kind: "answer", path, ...answer }), sentence(env))
            )
            const expected =
              what === "500"
                ? `${host} has a failure of its own (${endpoint} answered ${said}): try again later`
                : `${host} does not answer as a Databricks workspace does (${endpoint} answered ${said}): check DATABRICKS_HOST`
            assert.strictEqual(got, expected)
          }
        })
      )
    }

    it.effect("says so where no workspace id is to be had", () =>
      Effect.gen(function* () {
        const host = yield* answering({ [me]: () => [{ id: "1", userName: "sp" }] })
        assert.strictEqual(
          yield* sentence({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: "t" }),
          `${host} does not say which workspace it is (GET ${me} has no x-databricks-org-id header): set DATABRICKS_WORKSPACE_ID`
        )
        const env = { DATABRICKS_HOST: host, DATABRICKS_TOKEN: "t", DATABRICKS_WORKSPACE_ID: "7" }
        assert.strictEqual((yield* start(env)).workspaceId, "7")
      })
    )

    it.effect("sends the secret to no token endpoint that can be overheard", () =>
      Effect.gen(function* () {
        const host = yield* answering({ [discovery]: () => [{ token_endpoint: "http://example.com/token" }] })
        assert.strictEqual(
          yield* sentence({ DATABRICKS_HOST: host, DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }),
          `${host} does not answer as a Databricks workspace does (GET ${discovery} names a token endpoint that is no https:// address): check DATABRICKS_HOST`
        )
      })
    )
  })

  describe("a workspace that is silent", () => {
    const cases = {
      "to SCIM Me": { DATABRICKS_TOKEN: "t" },
      "while the OAuth token is fetched": { DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" }
    }
    for (const [what, credentials] of Object.entries(cases)) {
      it.effect(`${what}: the start fails after 10 s and leaves no connection`, () =>
        Effect.gen(function* () {
          const { arrived, host, idle } = yield* silence
          const starting = yield* Effect.forkChild(sentence({ DATABRICKS_HOST: host, ...credentials }))
          yield* arrived
          yield* TestClock.adjust("9999 millis")
          assert.isUndefined(starting.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          assert.strictEqual(
            yield* Fiber.join(starting),
            `${host} did not answer within 10s: check DATABRICKS_HOST and the network`
          )
          yield* idle
        })
      )
    }
  })
})
