import { assert, layer } from "@effect/vitest"
import { FilesError, Jobs, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, DateTime, Effect, Layer, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { Api } from "../../scratchpad/demo/Api.ts"
import { model } from "../../scratchpad/demo/chat/local.ts"
import { seed, space } from "../../scratchpad/demo/genie/local.ts"
import { job } from "../../scratchpad/demo/jobs/local.ts"
import { browser, isSkipped, whyAbsent } from "../fixtures/browser.ts"
import { startDemo } from "../fixtures/demo.ts"
import { eventually } from "../fixtures/eventually.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"

const volume = "/Volumes/main/demo/files"

const Workspace = LocalWorkspace.layer({
  files: { volumes: [{ path: volume, readers: [alice], writers: [alice] }] },
  jobs: [job, { id: "7", name: "other", tasks: [{ key: "only", run: () => Effect.succeed("of another job") }] }],
  genie: [space],
  serving: { model }
})

/** The demo as an app of a workspace, which has no database but the resources of the other subjects. */
class Deployed extends Context.Service<Deployed, Effect.Success<ReturnType<typeof startDemo>>>()("test/Deployed") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      yield* workspace.administer(seed)
      const { PGHOST: _, ...env } = workspace.env
      return yield* startDemo({
        ...env,
        DATABRICKS_VOLUME: volume,
        DATABRICKS_JOB_ID: job.id,
        DATABRICKS_GENIE_SPACE_ID: space.spaceId,
        DATABRICKS_SERVING_ENDPOINT_NAME: "model"
      })
    })
  )
}

/** A screen as the user whose headers the browser sends, as the proxy of Databricks Apps would. */
const screen = Effect.fnUntraced(function* (path: string, name: string) {
  const { origin } = yield* Deployed
  const { context } = yield* browser
  const headers = yield* requestOf(name)
  return yield* Effect.promise(async () => {
    await context.setExtraHTTPHeaders(headers)
    const page = await context.newPage()
    await page.goto(origin + path)
    return page
  })
})

const clientOf = Effect.fnUntraced(function* (name: string) {
  const { origin } = yield* Deployed
  const headers = yield* requestOf(name)
  return yield* HttpApiClient.make(Api, {
    baseUrl: origin,
    transformClient: HttpClient.mapRequest(HttpClientRequest.setHeaders(headers))
  }).pipe(Effect.provide(FetchHttpClient.layer))
})

const eventsOf = <A, E, E2, R>(response: Effect.Effect<Stream.Stream<A, E>, E2, R>) =>
  Effect.flatMap(response, Stream.runCollect)

const Live = Jobs.layer.pipe(
  Layer.provide(Layer.provide(ServiceContext.layerConfig(), LocalWorkspace.layerEnv())),
  Layer.merge(Deployed.layer),
  Layer.provideMerge(Workspace)
)

layer(Live, { timeout: "60 seconds", excludeTestServices: true })("The demo with the resources of an app", (it) => {
  it.effect("has the screens of its resources, and no other", () =>
    Effect.gen(function* () {
      const { call } = yield* Deployed
      const { text } = yield* call("GET", "/")
      const links = Array.from(text.matchAll(/<a href="(\/\w*)"[^>]*>(\w+)<\/a>/g), ([, href]) => href)
      assert.includeMembers(links, ["/", "/files", "/job", "/genie", "/chat"])
      assert.notIncludeMembers(links, ["/orders", "/budget"])
      const { paths } = (yield* call("GET", "/openapi.json")).json
      for (const path of ["/api/files/{name}", "/api/runs/{runId}/states", "/api/genie/questions", "/api/chat"]) {
        assert.property(paths, path)
      }
    })
  )

  it.effect("refuses a user without READ VOLUME, and every route of a user without a user", () =>
    Effect.gen(function* () {
      const { call } = yield* Deployed
      assert.deepStrictEqual((yield* call("GET", "/api/files", yield* requestOf(alice))).json, [])
      const absent = yield* call("GET", `/api/files/${"a".repeat(200)}`, yield* requestOf(alice))
      assert.strictEqual(absent.json._tag, "NotFoundError", "a long name reaches the volume")
      const refused = yield* call("GET", "/api/files", yield* requestOf(bob))
      assert.deepStrictEqual([refused.status, refused.json._tag], [403, "PermissionDeniedError"])
      const ids = "/api/genie/01ef/01ef"
      for (const path of ["/api/files", "/api/files/a.csv", ids, `${ids}/01ef`]) {
        assert.strictEqual((yield* call("GET", path)).status, 401, path)
      }
      for (const [path, body] of [
        ["/api/genie/questions", { question: "?" }],
        ["/api/chat", { messages: [{ role: "user", content: "?" }] }]
      ] as const) {
        assert.strictEqual((yield* call("POST", path, {}, body)).status, 401, path)
      }
    })
  )

  it.effect("decodes the events of Genie for a typed client, and hides them from another user", () =>
    Effect.gen(function* () {
      const { genie } = yield* clientOf(alice)
      const [started, ...events] = yield* eventsOf(genie.ask({ payload: { question: "Hello" } }))
      if (started === undefined || !("messageId" in started)) return assert.fail("The question did not start")
      const answer = events.at(-1)
      if (answer === undefined || !("message" in answer)) return assert.fail("The question has no answer")
      assert.isTrue(DateTime.isDateTime(answer.message.createdAt))
      const params = { conversationId: started.conversationId, messageId: started.messageId }
      assert.deepStrictEqual((yield* eventsOf(genie.watch({ params }))).at(-1), answer)
      const ofBob = yield* eventsOf((yield* clientOf(bob)).genie.watch({ params }))
      assert.hasAllKeys(ofBob[0], ["error", "code"])
      assert.strictEqual(ofBob.length, 1)
    })
  )

  it.effect("gives a typed client a declared error as its class", () =>
    Effect.gen(function* () {
      const { files } = yield* clientOf(alice)
      const upload = files.upload({ params: { name: "é.txt" }, payload: Stream.make(new Uint8Array([104, 105])) })
      yield* upload
      assert.instanceOf(yield* Effect.flip(upload), FilesError.FileExistsError)
      assert.deepInclude((yield* files.list())[0], { name: "é.txt", size: 2 })
      yield* files.remove({ params: { name: "é.txt" } })
    })
  )

  it.effect("hides the runs of another job", () =>
    Effect.gen(function* () {
      const { call } = yield* Deployed
      const jobs = yield* Jobs.Jobs
      const runId = yield* jobs.run("7")
      yield* Stream.runDrain(jobs.watch(runId, { delay: "100 millis" }))
      for (const path of [`/api/runs/${runId}/output`, `/api/runs/${runId}/states`]) {
        const { json, status } = yield* call("GET", path, yield* requestOf(alice))
        assert.deepStrictEqual([status, json._tag], [404, "NotFound"], path)
      }
    })
  )

  it.effect.skipIf(isSkipped)(`starts one run for a double click${whyAbsent}`, () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const page = yield* screen("/job", alice)
      yield* Effect.promise(async () => {
        await page.getByRole("button", { name: "Start the report" }).dblclick()
        await page.getByText("12 units in 3 sales").waitFor()
      })
      const starts = (yield* requests).filter(({ body, path }) => /run-now/.test(path) && body?.includes(job.id))
      assert.strictEqual(starts.length, 2)
      const runs = yield* Stream.runCollect((yield* Jobs.Jobs).list({ jobId: job.id }))
      assert.strictEqual(runs.length, 1)
    })
  )

  it.effect.skipIf(isSkipped)(`aborts the request to the model when Stop is pressed${whyAbsent}`, () =>
    Effect.gen(function* () {
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      const page = yield* screen("/chat", alice)
      yield* Effect.promise(async () => {
        await page.getByPlaceholder("Your message").fill("a long one")
        await page.getByRole("button", { name: "Send" }).click()
        await page.locator("article", { hasText: "You are alice" }).waitFor()
        await page.getByRole("button", { name: "Stop" }).click()
        await page.getByText("You stopped the reply.").waitFor()
      })
      const toModel = Effect.map(requests, (all) => all.filter(({ path }) => path.startsWith("/serving-endpoints/")))
      yield* eventually(toModel, ([request]) => request?.aborted === true)
      assert.deepStrictEqual(
        (yield* toModel).map(({ user }) => user),
        [alice]
      )
    })
  )
})
