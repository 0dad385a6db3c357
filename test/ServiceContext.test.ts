import { assert, describe, layer } from "@effect/vitest"
import { Cause, ConfigProvider, Effect, Exit, Fiber, Layer, Logger, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { asUser, getWarehouseId, ServiceContext, UserContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { bob } from "./fixtures/people.ts"
import { hurried, layerOf, me, start, turn, warehouses, wrongSetting } from "./fixtures/start.ts"

const Workspace = LocalWorkspace.LocalWorkspace

const everything = (value: unknown) =>
  inspect(value, { depth: 12, showHidden: true, getters: true }) + JSON.stringify(value) + String(value)

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

    it.effect("with a token given to ServiceContext.layer", () =>
      Effect.gen(function* () {
        const { host, servicePrincipal, token, workspaceId } = yield* Workspace
        const options = { host: `${host}/#x`, token: yield* token(servicePrincipal.clientId) }
        const service = yield* Effect.provide(ServiceContext.ServiceContext, ServiceContext.layer(options))
        assert.strictEqual(service.host, host)
        assert.strictEqual(service.workspaceId, workspaceId, "from the header")
        assert.strictEqual(service.principal.userName, servicePrincipal.clientId)
      })
    )

    it.effect("with a profile, and fails with a sentence for a wrong profile", () =>
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
          ["[person]", `host = ${host}`, `token = ${Redacted.value(yield* token(bob))}`],
          ["[homeless]", "token = t"],
          ["[lost]", "host = no where", "token = t"],
          ["[half]", `host = ${host}`, "client_id = c"]
        ]
        yield* Effect.promise(() => writeFile(file, content.map((_) => _.join("\n")).join("\n")))
        const profile = (name: string) => ({ DATABRICKS_CONFIG_FILE: file, DATABRICKS_CONFIG_PROFILE: name })
        const userName = (name: string) => Effect.map(start(profile(name)), (_) => _.principal.userName)
        assert.strictEqual(yield* userName("machine"), servicePrincipal.clientId)
        assert.strictEqual(yield* userName("person"), bob)
        assert.deepStrictEqual(
          yield* Effect.forEach(["nobody", "homeless", "lost", "half"], (_) => wrongSetting(profile(_))),
          [
            `There is no profile "nobody" in ${file}: check DATABRICKS_CONFIG_PROFILE and DATABRICKS_CONFIG_FILE`,
            `DATABRICKS_HOST is not set, and neither is the host of the profile "homeless" in ${file}: add it there`,
            `The host of the profile "lost" in ${file} is neither a URL nor a host name: "no where"`,
            `The client_id of the profile "half" in ${file} is set and the client_secret of the profile "half" in ${file} is not: set both, or neither`
          ]
        )
        assert.strictEqual(
          yield* wrongSetting({ DATABRICKS_CONFIG_FILE: "/nowhere", DATABRICKS_CONFIG_PROFILE: "p" }),
          "DATABRICKS_CONFIG_FILE names a file that cannot be read (ENOENT): /nowhere"
        )
      })
    )

    it.effect("with SCIM Me and the warehouse list requested in parallel", () =>
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

    it.effect("with two calls to the workspace and one connection, given a client id and secret", () =>
      Effect.gen(function* () {
        const { connections, env, requests } = yield* Workspace
        const seen = Effect.all({ asked: Effect.map(requests, (_) => _.length), opened: connections })
        const before = yield* seen
        yield* start(env)
        const after = yield* seen
        assert.deepStrictEqual([after.asked - before.asked, after.opened - before.opened], [2, 1])
      })
    )

    it.effect("with a warning, and callers of the workspace's own id, where DATABRICKS_WORKSPACE_ID is another's", () =>
      Effect.gen(function* () {
        const { env, headers, workspaceId } = yield* Workspace
        const logged: Array<string> = []
        const logger = Logger.make(({ message }) => void logged.push(String(message)))
        const start = layerOf({ ...env, DATABRICKS_WORKSPACE_ID: "7" }).pipe(Layer.provide(Logger.layer([logger])))
        const user = yield* Effect.provide(UserContext, asUser(yield* headers(bob))).pipe(
          Effect.provide(start, { local: true })
        )
        assert.strictEqual(user.workspaceId, workspaceId)
        assert.deepStrictEqual(logged, [
          `DATABRICKS_WORKSPACE_ID is 7, and ${env["DATABRICKS_HOST"]} says that it is workspace ${workspaceId}: callers are verified in the latter. Correct or remove DATABRICKS_WORKSPACE_ID`
        ])
      })
    )

    it.effect("with variables before the workspace's own values, and blank variables as unset", () =>
      Effect.gen(function* () {
        const { env, workspaceId } = yield* Workspace
        const set = yield* start({ ...env, DATABRICKS_WORKSPACE_ID: "7", DATABRICKS_WAREHOUSE_ID: "w\n" })
        assert.strictEqual(set.workspaceId, "7")
        assert.deepStrictEqual(set.warehouseId, Option.some("w"))
        const empty = { DATABRICKS_WORKSPACE_ID: "", DATABRICKS_WAREHOUSE_ID: "", DATABRICKS_TOKEN: "" }
        const blank = { DATABRICKS_WORKSPACE_ID: " ", DATABRICKS_WAREHOUSE_ID: "\n" }
        for (const none of [empty, blank]) {
          const unset = yield* start({ ...env, ...none })
          assert.strictEqual(unset.workspaceId, workspaceId)
          assert.deepStrictEqual(unset.warehouseId, Option.none())
        }
      })
    )
  })

  it.effect("takes overrides of layerConfig over the environment, and ignores undefined ones", () =>
    Effect.gen(function* () {
      const { env } = yield* Workspace
      const started = (overrides: ServiceContext.Options) =>
        Effect.provide(
          ServiceContext.ServiceContext,
          layerOf({ ...env, DATABRICKS_WAREHOUSE_ID: "environment" }, overrides),
          { local: true }
        )
      assert.deepInclude((yield* started({ warehouseId: "override" })).warehouseId, { value: "override" })
      assert.deepInclude((yield* started({ warehouseId: undefined })).warehouseId, { value: "environment" })
      assert.strictEqual(ServiceContext.layerConfig(), ServiceContext.layerConfig())
    })
  )

  describe("warehouse id", () => {
    it.effect("is that of a running, else stopped, starting or stopping warehouse in development", () =>
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

    it.effect("is not looked up in production, where getWarehouseId fails with the variable's name", () =>
      Effect.gen(function* () {
        const { env, requests } = yield* Workspace
        const before = (yield* requests).length
        const environment = layerOf({ ...env, DATABRICKS_WAREHOUSE_ID: "" })
        const error = yield* Effect.flip(Effect.provide(getWarehouseId, environment))
        assert.strictEqual(error.message, "No SQL warehouse is configured: set DATABRICKS_WAREHOUSE_ID")
        const asked = (yield* requests).slice(before).map((_) => _.path)
        assert.deepStrictEqual(asked, ["/oidc/v1/token", me])
      })
    )

    it.effect("is absent when its lookup fails in development, and the start succeeds", () =>
      Effect.gen(function* () {
        const { env, misbehave } = yield* Workspace
        yield* misbehave({ kind: "answer", path: warehouses, status: 500 })
        const service = yield* hurried(start({ ...env, NODE_ENV: "development", DATABRICKS_WAREHOUSE_ID: "" }))
        assert.deepStrictEqual(service.warehouseId, Option.none())
        assert.isTrue(service.development)
      })
    )
  })

  describe("service principal's token", () => {
    it.effect("is refreshed 40 s before it expires, once for 100 concurrent calls", () =>
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

    it.effect("is refreshed no later when the system's clock is set back", () =>
      Effect.gen(function* () {
        const { env } = yield* Workspace
        yield* Effect.gen(function* () {
          const { principal } = yield* ServiceContext.ServiceContext
          const first = yield* principal.authorization
          yield* TestClock.adjust("-1 day")
          yield* TestClock.adjust("3559 seconds")
          assert.strictEqual(yield* principal.authorization, first)
          yield* TestClock.adjust("1 second")
          assert.notStrictEqual(yield* principal.authorization, first)
        }).pipe(Effect.provide(layerOf(env), { local: true }))
      })
    )

    it.effect("fails after 30 s without a response, and the next call asks again", () =>
      Effect.gen(function* () {
        const { env, misbehave, requests } = yield* Workspace
        yield* Effect.gen(function* () {
          const { principal } = yield* ServiceContext.ServiceContext
          yield* TestClock.adjust("1 hour")
          yield* misbehave({ kind: "hang", path: "/oidc/v1/token", times: 1 })
          const count = (yield* requests).length
          const waiting = yield* Effect.forkChild(Effect.flip(principal.authorization))
          yield* Effect.repeat(turn, { until: () => Effect.map(requests, (_) => _.length > count) })
          yield* TestClock.adjust("30 seconds")
          const error = yield* Fiber.join(waiting)
          assert.strictEqual(error.reason._tag, "ConnectionError")
          assert.include(error.message, "No response to the service principal's sign-in (timeout)")
          yield* principal.authorization
        }).pipe(Effect.provide(layerOf(env), { local: true }), Effect.scoped)
      })
    )
  })

  it.effect("shows no secret in its options, its value or the error of a failed start", () =>
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
              const exit = yield* Effect.exit(hurried(start(env)))
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
