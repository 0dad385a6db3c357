/** The examples of docs/frameworks.md: each as a process on the local workspace, with two users at once. */
import { assert, describe, layer } from "@effect/vitest"
import { asUser, getCurrentUserId, ServiceContext } from "effect-databricks"
import { LocalWorkspace, TestContext } from "effect-databricks/testing"
import { Effect, Fiber, Layer, ManagedRuntime } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { freePort } from "../fixtures/child.ts"
import { eventually } from "../fixtures/eventually.ts"
import { compile } from "../fixtures/fences.ts"
import { applicationOf } from "../fixtures/guide.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"

const application = applicationOf("docs/frameworks.md")

/** A process that runs a module of the application in the environment of the local workspace. */
const start = Effect.fnUntraced(function* (args: ReadonlyArray<string>) {
  const { env } = yield* LocalWorkspace.LocalWorkspace
  const port = yield* freePort
  const origin = `http://127.0.0.1:${port}`
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--conditions=@effect-databricks/source", ...args], {
        env: { ...env, DATABRICKS_APP_PORT: String(port) },
        stdio: ["ignore", "pipe", "pipe"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let output = ""
  child.stdout.on("data", (chunk) => (output += chunk))
  child.stderr.on("data", (chunk) => (output += chunk))
  const exited = once(child, "exit")
  return { child, exited: Effect.promise(() => exited), origin, output: () => output }
})

const answerOf = (url: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    return { status: response.status, headers: response.headers, json: await response.json() }
  })

const isUp = (origin: string) =>
  Effect.promise(() =>
    fetch(origin).then(
      () => true,
      () => false
    )
  )

layer(LocalWorkspace.layer(), { excludeTestServices: true })("docs/frameworks.md", (it) => {
  it.effect("type-checks", () =>
    Effect.gen(function* () {
      const { folder } = yield* application
      assert.strictEqual(compile(folder, ["-p", folder]).stdout, "")
    })
  )

  describe.each(["express", "hono"])("the server with %s", (framework) => {
    const started = Effect.gen(function* () {
      const { folder } = yield* application
      const server = yield* start([join(folder, `src/${framework}.ts`)])
      yield* eventually(isUp(server.origin))
      return server
    })

    it.effect("answers two users at once, each as themselves", () =>
      Effect.gen(function* () {
        const { origin } = yield* started
        const users = Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? alice : bob))
        const answers = yield* Effect.forEach(
          users,
          (user) => Effect.flatMap(requestOf(user), (headers) => answerOf(`${origin}/whoami`, { headers })),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          answers.map(({ json, status }) => [status, json]),
          users.map((user) => [200, [{ who: user }]])
        )
        assert.strictEqual(answers[0]!.headers.get("cache-control"), "private, no-store")
      })
    )

    it.effect("answers a request without a user with 401, and a failure with its status", () =>
      Effect.gen(function* () {
        const { origin, output } = yield* started
        const nobody = yield* answerOf(`${origin}/whoami`)
        assert.deepStrictEqual([nobody.status, nobody.json._tag], [401, "AuthenticationError"])
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        yield* misbehave({ path: "/api/2.0/sql/statements", kind: "answer", status: 500, times: 1 })
        const failed = yield* answerOf(`${origin}/whoami`, { headers: yield* requestOf(alice) })
        assert.deepStrictEqual(
          [failed.status, failed.json],
          [502, { _tag: "WorkspaceFailedError", message: "Server error" }]
        )
        assert.include(output(), "WorkspaceFailedError")
      })
    )

    it.effect("cancels the statement of a client that leaves", () =>
      Effect.gen(function* () {
        const { requests } = yield* LocalWorkspace.LocalWorkspace
        const { origin } = yield* started
        const before = (yield* requests).length
        const sent = Effect.map(requests, (all) => all.slice(before).map(({ path }) => path))
        const left = new AbortController()
        const headers = yield* requestOf(alice)
        const gone = fetch(`${origin}/slow`, { headers, signal: left.signal }).catch(() => "left")
        yield* eventually(sent, (paths) => paths.some((path) => path.endsWith("/sql/statements")))
        left.abort()
        assert.strictEqual(yield* Effect.promise(() => gone), "left")
        yield* eventually(sent, (paths) => paths.some((path) => path.endsWith("/cancel")))
      })
    )

    it.effect("lets a request in flight finish on SIGTERM, and exits with 0", () =>
      Effect.gen(function* () {
        const { misbehave, requests } = yield* LocalWorkspace.LocalWorkspace
        const { child, exited, origin } = yield* started
        yield* misbehave({ path: "/api/2.0/sql/statements", kind: "delay", duration: "500 millis", times: 1 })
        const before = (yield* requests).length
        const headers = yield* requestOf(alice)
        const inFlight = yield* Effect.forkChild(answerOf(`${origin}/whoami`, { headers }))
        yield* eventually(requests, (all) => all.slice(before).some(({ path }) => path.endsWith("/sql/statements")))
        child.kill("SIGTERM")
        assert.deepStrictEqual((yield* Fiber.join(inFlight)).json, [{ who: alice }])
        assert.deepStrictEqual(yield* exited, [0, null])
      })
    )
  })

  it.effect("is right that a layer provided per request signs in each time, and one in the runtime once", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const Live = ServiceContext.layerConfig().pipe(
        Layer.provide(LocalWorkspace.layerEnv()),
        Layer.provide(Layer.succeed(LocalWorkspace.LocalWorkspace, workspace))
      )
      const signIns = Effect.map(workspace.requests, (all) => all.filter((_) => _.path === "/oidc/v1/token").length)
      const before = yield* signIns
      for (const _ of [1, 2]) yield* Effect.promise(() => Effect.runPromise(Effect.provide(getCurrentUserId, Live)))
      assert.strictEqual((yield* signIns) - before, 2)
      const runtime = yield* Effect.acquireRelease(
        Effect.sync(() => ManagedRuntime.make(Live)),
        (_) => _.disposeEffect
      )
      for (const _ of [1, 2]) yield* Effect.promise(() => runtime.runPromise(getCurrentUserId))
      assert.strictEqual((yield* signIns) - before, 3)
    })
  )

  it.effect("is right that runPromise of the runtime inside a call runs as the service principal", () =>
    Effect.gen(function* () {
      const runtime = ManagedRuntime.make(TestContext.layer({ servicePrincipalId: "the-app" }))
      const inside = Effect.gen(function* () {
        const here = Effect.runPromiseWith(yield* Effect.context<ServiceContext.ServiceContext>())
        return [
          yield* Effect.promise(() => runtime.runPromise(getCurrentUserId)),
          yield* Effect.promise(() => here(getCurrentUserId))
        ]
      })
      const asAlice = Effect.provide(inside, asUser({ "x-forwarded-user": "alice", "x-forwarded-access-token": "t" }))
      assert.deepStrictEqual(yield* Effect.promise(() => runtime.runPromise(asAlice)), ["the-app", "alice"])
    })
  )

  it.effect("answers web requests of two users in the route of Next", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* application
      const people = yield* Effect.forEach([alice, bob], (user) => requestOf(user))
      write(
        "call.ts",
        `
          import { GET } from "./app/api/whoami/route.ts"
          import { runtime } from "./src/runtime.ts"
          const people: ReadonlyArray<Record<string, string>> = ${JSON.stringify([...people, ...people, {}])}
          const answers = await Promise.all(
            people.map((headers) => GET(new Request("http://localhost/api/whoami", { headers })))
          )
          console.log("answers", JSON.stringify(await Promise.all(answers.map((_) => _.json()))))
          await runtime.dispose()
        `
      )
      const { exited, output } = yield* start([pathToFileURL(join(folder, "call.ts")).pathname])
      assert.deepStrictEqual(yield* exited, [0, null])
      const answers = JSON.parse(/^answers (.*)$/m.exec(output())?.[1] ?? "[]")
      assert.deepStrictEqual(
        answers.map((_: unknown) => (Array.isArray(_) ? _[0].who : (_ as { _tag: string })._tag)),
        [alice, bob, alice, bob, "AuthenticationError"]
      )
    })
  )
})
