import { assert, describe, it, layer } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Exit, Fiber, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { getWarehouseId, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import * as Http from "node:http"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import * as Host from "../src/internal/host.ts"

const Workspace = LocalWorkspace.LocalWorkspace

const layerOf = (env: Record<string, string>) =>
  Layer.provide(ServiceContext.layerConfig, ConfigProvider.layer(ConfigProvider.fromUnknown(env)))

const start = (env: Record<string, string>) =>
  Effect.provide(ServiceContext.ServiceContext, layerOf(env), { local: true })

const sentence = (env: Record<string, string>) =>
  Effect.map(Effect.flip(start(env)), (error) => {
    assert.strictEqual(error._tag, "ServiceContextError")
    return error.message
  })

const everything = (value: unknown) =>
  inspect(value, { depth: 12, showHidden: true, getters: true }) + JSON.stringify(value) + String(value)

/** Lets real I/O go on. */
const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

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
    const server = Http.createServer((request, response) => {
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

const me = "/api/2.0/preview/scim/v2/Me"
const discovery = "/oidc/.well-known/oauth-authorization-server"
const warehouses = "/api/2.0/sql/warehouses"

const choose = (states: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { env, misbehave } = yield* Workspace
    const body = JSON.stringify({ warehouses: states.map((state) => ({ id: `the ${state}`, state })) })
    yield* misbehave({ kind: "answer", path: warehouses, status: 200, body })
    return (yield* start({ ...env, NODE_ENV: "development", DATABRICKS_WAREHOUSE_ID: "" })).warehouseId
  }).pipe(Effect.scoped)

layer(LocalWorkspace.layer())("ServiceContext", (it) => {
  describe("starts", () => {
    it.effect("with a client id and secret", () =>
      Effect.gen(function* () {
        const workspace = yield* Workspace
        const service = yield* start(workspace.env)
        assert.strictEqual(service.host, workspace.host)
        assert.strictEqual(service.workspaceId, workspace.workspaceId)
        assert.deepStrictEqual(service.warehouseId, Option.some(workspace.warehouseId))
        assert.isFalse(service.development)
        assert.deepInclude(service.principal, {
          context: "service",
          id: workspace.servicePrincipal.id,
          scimId: workspace.servicePrincipal.id,
          userName: workspace.servicePrincipal.clientId,
          email: undefined,
          oboDevFallback: false
        })
      })
    )

    it.effect("with a token, by layer(options)", () =>
      Effect.gen(function* () {
        const { host, servicePrincipal, token, workspaceId } = yield* Workspace
        const options = { host: `${host}/?o=1#x`, token: yield* token(servicePrincipal.clientId) }
        const service = yield* Effect.provide(ServiceContext.ServiceContext, ServiceContext.layer(options))
        assert.strictEqual(service.host, host)
        assert.strictEqual(service.workspaceId, workspaceId, "from the header")
        assert.strictEqual(service.principal.userName, servicePrincipal.clientId)
      })
    )

    it.effect("with a profile", () =>
      Effect.gen(function* () {
        const { host, servicePrincipal, token } = yield* Workspace
        const directory = yield* Effect.acquireRelease(
          Effect.promise(() => mkdtemp(join(tmpdir(), "profile-"))),
          (path) => Effect.promise(() => rm(path, { recursive: true }))
        )
        const file = join(directory, "databrickscfg")
        const secret = Redacted.value(servicePrincipal.clientSecret)
        const content = [
          ["[machine]", `host = ${host}`, `client_id = ${servicePrincipal.clientId}`, `client_secret = ${secret}`],
          ["[person]", `host = ${host}`, `token = ${Redacted.value(yield* token("bob@example.com"))}`],
          ["[homeless]", "token = t"],
          ["[lost]", "host = no where", "token = t"],
          ["[half]", `host = ${host}`, "client_id = c"]
        ]
        yield* Effect.promise(() => writeFile(file, content.map((_) => _.join("\n")).join("\n")))
        const profile = (name: string) => ({ DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: name })
        const userName = (name: string) => Effect.map(start(profile(name)), (_) => _.principal.userName)
        assert.strictEqual(yield* userName("machine"), servicePrincipal.clientId)
        assert.strictEqual(yield* userName("person"), "bob@example.com")
        assert.deepStrictEqual(
          yield* Effect.forEach(["nobody", "homeless", "lost", "half"], (_) => sentence(profile(_))),
          [
            `${file} has no nobody profile configured: check DATABRICKS_CONFIG_PROFILE and DATABRICKS_CONFIG_FILE`,
            `DATABRICKS_HOST is not set, and the profile "homeless" gives no host: check ${file}`,
            `The host of the profile "lost" is neither a URL nor a host name: "no where"`,
            "DATABRICKS_CLIENT_ID is set and DATABRICKS_CLIENT_SECRET is not: set both, or neither"
          ]
        )
        assert.strictEqual(
          yield* sentence({ DATABRICKS_CONFIG_FILE: "/nowhere", DATABRICKS_CONFIG_PROFILE: "p" }),
          `DATABRICKS_HOST is not set, and the profile "p" gives no host: check /nowhere`
        )
      })
    )

    it.effect("asking everything at once", () =>
      Effect.gen(function* () {
        const { host, misbehave, requests, servicePrincipal, token } = yield* Workspace
        // Neither question is answered before both have been asked.
        yield* misbehave({ kind: "delay", path: me, duration: "5 seconds" })
        yield* misbehave({ kind: "delay", path: warehouses, duration: "5 seconds" })
        const count = (yield* requests).length
        const first = yield* Effect.forkChild(
          start({
            NODE_ENV: "development",
            DATABRICKS_HOST: host,
            DATABRICKS_TOKEN: Redacted.value(yield* token(servicePrincipal.clientId))
          })
        )
        yield* Effect.repeat(turn, { until: () => Effect.map(requests, (_) => _.length >= count + 2) })
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(Option.isSome((yield* Fiber.join(first)).warehouseId))
      })
    )

    it.effect("with the variables before what the workspace says, and an empty variable as none", () =>
      Effect.gen(function* () {
        const { env, workspaceId } = yield* Workspace
        const set = yield* start({ ...env, DATABRICKS_WORKSPACE_ID: "7", DATABRICKS_WAREHOUSE_ID: "w" })
        assert.strictEqual(set.workspaceId, "7")
        assert.deepStrictEqual(set.warehouseId, Option.some("w"))
        const empty = { DATABRICKS_WORKSPACE_ID: "", DATABRICKS_WAREHOUSE_ID: "", DATABRICKS_TOKEN: "" }
        const unset = yield* start({ ...env, ...empty })
        assert.strictEqual(unset.workspaceId, workspaceId)
        assert.deepStrictEqual(unset.warehouseId, Option.none())
      })
    )
  })

  describe("the warehouse", () => {
    it.effect("is the first usable one in development", () =>
      Effect.gen(function* () {
        const order = ["RUNNING", "STOPPED", "STARTING", "STOPPING"]
        const states = [...order, "DELETED", "DELETING"].toReversed()
        for (const state of order) {
          assert.deepStrictEqual(yield* choose(states), Option.some(`the ${state}`))
          states.pop()
        }
        assert.deepStrictEqual(yield* choose(states), Option.none())
        assert.deepStrictEqual(yield* choose([]), Option.none())
      })
    )

    it.effect("is not asked for in production, and missed with its own sentence", () =>
      Effect.gen(function* () {
        const { env, requests } = yield* Workspace
        const before = (yield* requests).length
        const environment = layerOf({ ...env, DATABRICKS_WAREHOUSE_ID: "" })
        const error = yield* Effect.flip(Effect.provide(getWarehouseId, environment))
        assert.strictEqual(error.message, "There is no SQL warehouse to use: set DATABRICKS_WAREHOUSE_ID")
        const asked = (yield* requests).slice(before).map((_) => _.path)
        assert.deepStrictEqual(asked, [discovery, "/oidc/v1/token", me])
      })
    )

    it.effect("does not keep a development start from succeeding", () =>
      Effect.gen(function* () {
        const { env, misbehave } = yield* Workspace
        yield* misbehave({ kind: "answer", path: warehouses, status: 500 })
        const service = yield* start({ ...env, NODE_ENV: "development", DATABRICKS_WAREHOUSE_ID: "" })
        assert.deepStrictEqual(service.warehouseId, Option.none())
        assert.isTrue(service.development)
      })
    )
  })

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
        assert.match(
          yield* hosted("adb-1.workspace.invalid"),
          /^https:\/\/adb-1.workspace.invalid cannot be reached \((ENOTFOUND|EAI_AGAIN)\): check DATABRICKS_HOST/
        )
      })
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

  describe("the service principal's token", () => {
    it.effect("is fetched again 40 seconds before it expires, once for all who ask", () =>
      Effect.gen(function* () {
        const { env, requests } = yield* Workspace
        yield* Effect.gen(function* () {
          const { principal } = yield* ServiceContext.ServiceContext
          const token = Effect.map(principal.authorization, Redacted.value)
          const fetched = Effect.map(requests, (_) => _.filter(({ path }) => path === "/oidc/v1/token").length)
          const before = yield* fetched
          const first = yield* token
          yield* TestClock.adjust("3559 seconds")
          assert.strictEqual(yield* token, first)
          assert.strictEqual(yield* fetched, before)
          yield* TestClock.adjust("1 second")
          const many = yield* Effect.all(
            Array.from({ length: 100 }, () => token),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(new Set(many).size, 1)
          assert.notStrictEqual(many[0], first)
          assert.strictEqual(yield* fetched, before + 1)
        }).pipe(Effect.provide(layerOf(env), { local: true }))
      })
    )

    it.effect("is waited for 30 seconds, and asked for anew by the next call", () =>
      Effect.gen(function* () {
        const { env, misbehave, requests } = yield* Workspace
        yield* Effect.gen(function* () {
          const { principal } = yield* ServiceContext.ServiceContext
          yield* TestClock.adjust("1 hour")
          yield* misbehave({ kind: "hang", path: "/oidc/v1/token", times: 1 })
          const count = (yield* requests).length
          const waiting = yield* Effect.forkChild(Effect.flip(principal.authorization))
          yield* Effect.repeat(turn, { until: () => Effect.map(requests, (_) => _.length >= count + 2) })
          yield* TestClock.adjust("30 seconds")
          const error = yield* Fiber.join(waiting)
          assert.strictEqual(error.reason._tag, "ConnectionError")
          assert.include(error.message, "No answer to the service principal's sign-in (timeout)")
          yield* principal.authorization
        }).pipe(Effect.provide(layerOf(env), { local: true }), Effect.scoped)
      })
    )
  })

  it.effect("shows no secret", () =>
    Effect.gen(function* () {
      const { env, host, misbehave, servicePrincipal, token } = yield* Workspace
      const secret = Redacted.value(servicePrincipal.clientSecret)
      const bearer = Redacted.value(yield* token(servicePrincipal.clientId))
      const provider = ConfigProvider.fromUnknown({ ...env, DATABRICKS_TOKEN: bearer })
      const options = yield* ServiceContext.config.pipe(Effect.provideService(ConfigProvider.ConfigProvider, provider))
      const shown: Array<unknown> = [options, yield* start(env)]
      shown.push(yield* start({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: bearer }))
      const service = yield* start(env)
      const issued = Redacted.value(yield* service.principal.authorization).slice("Bearer ".length)
      shown.push(service)
      for (const kind of ["drop", "truncate", "answer"] as const) {
        for (const path of ["/oidc/v1/token", me]) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* misbehave({ kind, path, status: 500, body: "{" })
              const exit = yield* Effect.exit(start(env))
              assert.isTrue(Exit.isFailure(exit))
              shown.push(exit, Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")
            })
          )
        }
      }
      for (const value of shown) {
        for (const hidden of [secret, bearer, issued]) assert.notInclude(everything(value), hidden)
      }
    })
  )
})

describe("the host", () => {
  it.effect("may be a URL or a bare host name", () =>
    Effect.gen(function* () {
      const hosts = {
        "adb-1.2.azuredatabricks.net": "https://adb-1.2.azuredatabricks.net",
        " dbc-1.cloud.databricks.com\n": "https://dbc-1.cloud.databricks.com",
        "https://dbc-1.cloud.databricks.com/?o=12#job/3": "https://dbc-1.cloud.databricks.com",
        "HTTPS://User:Pw@DBC-1.cloud.databricks.com/": "https://dbc-1.cloud.databricks.com",
        "localhost:8443": "https://localhost:8443",
        "http://localhost:8080": "http://localhost:8080",
        "http://127.0.0.1:8080/": "http://127.0.0.1:8080",
        "http://[::1]:8080": "http://[::1]:8080"
      }
      for (const [given, host] of Object.entries(hosts)) assert.strictEqual(yield* Host.parse(given), host)
      for (const given of ["", "a b", "https://", "http://example.com", "http://127.0.0.1.example.com", "ftp://x"]) {
        assert.match((yield* Effect.flip(Host.parse(given))).message, /^DATABRICKS_HOST /)
      }
      const withPassword = yield* Effect.flip(Host.parse("http://me:hidden@example.com"))
      assert.notInclude(withPassword.message, "hidden")
    })
  )
})
