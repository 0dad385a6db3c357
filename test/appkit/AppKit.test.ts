import { assert, layer } from "@effect/vitest"
import { Jobs, ServiceContext } from "effect-databricks"
import * as AppKit from "effect-databricks/appkit/AppKit"
import * as Policy from "effect-databricks/appkit/Policy"
import { LocalWorkspace } from "effect-databricks/testing"
import { ConfigProvider, Effect, Layer, Option, Schema } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Environment from "../../src/internal/appkit/environment.ts"
import { ids, Live } from "../fixtures/jobs.ts"
import { alice, requestOf } from "../fixtures/people.ts"
import { serve, Served } from "../http/harness.ts"

layer(Live, { excludeTestServices: true })("appkit/AppKit.layerConfig", (it) => {
  const served = <A, E, R>(
    env: Readonly<Record<string, string | undefined>>,
    options: AppKit.Options,
    test: (call: Served["Service"]["call"], logs: Served["Service"]["logs"]) => Effect.Effect<A, E, R>
  ) =>
    Effect.flatMap(Served, ({ call, logs }) => test(call, logs)).pipe(
      Effect.provide(serve(Layer.provide(AppKit.layerConfig(options), LocalWorkspace.layerEnv(env))))
    )

  const configIn = (html: string) => JSON.parse(/<script id="__appkit__"[^>]*>([^<]*)<\/script>/.exec(html)![1]!)

  it.effect("serves the jobs of the environment, the page with their config, and /health", () =>
    Effect.gen(function* () {
      const root = mkdtempSync(join(tmpdir(), "appkit-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(root, { recursive: true })))
      writeFileSync(join(root, "index.html"), "<title>The page</title>")
      const env = {
        DATABRICKS_JOB_ID: ids.echo,
        DATABRICKS_JOB_NIGHTLY_ETL: ids.etl,
        DATABRICKS_JOB_BLANK: " ",
        DATABRICKS_JOBS: "none of them",
        DATABRICKS_APP_NAME: "orders"
      }
      const report = { job: Jobs.job({ id: ids.gated, parameters: Schema.Struct({ gate: Schema.String }) }) }
      yield* served(env, { page: { root }, jobs: { jobs: { report }, policy: Policy.allowAll } }, (call) =>
        Effect.gen(function* () {
          const headers = yield* requestOf(alice)
          assert.deepStrictEqual((yield* call("GET", "/health")).json, { status: "ok" })
          const { appName, plugins } = configIn((yield* call("GET", "/")).text)
          assert.strictEqual(appName, "orders")
          assert.deepStrictEqual(Object.keys(plugins.jobs.jobs).toSorted(), ["default", "nightly_etl", "report"])
          for (const [job, id] of [
            ["default", ids.echo],
            ["nightly_etl", ids.etl]
          ] as const) {
            const started = yield* call("POST", `/api/jobs/${job}/run`, { headers })
            assert.strictEqual(started.status, 200, started.text)
            const run = yield* call("GET", `/api/jobs/${job}/runs/${started.json.runId}`, { headers })
            assert.strictEqual(run.json.job_id, id)
          }
          const refused = yield* call("POST", "/api/jobs/default/run", { headers, body: { params: { a: "b" } } })
          assert.strictEqual(refused.status, 400)
          const missing = yield* call("GET", "/api/nowhere")
          assert.deepStrictEqual([missing.status, missing.json._tag], [404, "RouteNotFound"])
        })
      )
    })
  )

  it.effect("logs at the start what it serves, and nothing of the rest", () =>
    Effect.gen(function* () {
      const env = {
        DATABRICKS_GENIE_SPACE_ID: "01ef",
        DATABRICKS_VOLUME_UPLOADS: "/Volumes/main/app/uploads",
        DATABRICKS_VOLUME_PHOTOS: "/Volumes/main/app/photos",
        DATABRICKS_SERVING_ENDPOINT_NAME: "llm"
      }
      yield* served(env, { serving: { endpoints: { chat: "chat" } } }, (_, logs) =>
        Effect.sync(() => {
          const said = logs.flatMap(({ text }) => /"message":"(AppKit serves .*?)"/.exec(text)?.[1] ?? [])
          assert.deepStrictEqual(said.toSorted(), [
            "AppKit serves Genie spaces: default",
            "AppKit serves model endpoints: chat, default",
            "AppKit serves volumes: uploads, photos"
          ])
        })
      )
    })
  )

  it.effect("serves the Genie space, the volumes and the endpoint of the environment as the user", () =>
    Effect.gen(function* () {
      const root = mkdtempSync(join(tmpdir(), "appkit-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(root, { recursive: true })))
      writeFileSync(join(root, "index.html"), "")
      const env = {
        DATABRICKS_GENIE_SPACE_ID: "01ef",
        DATABRICKS_VOLUME_UPLOADS: "/Volumes/main/app/uploads",
        DATABRICKS_SERVING_ENDPOINT_NAME: "llm"
      }
      const routes = [
        ["POST", "/api/genie/default/messages"],
        ["GET", "/api/files/uploads/list"],
        ["POST", "/api/serving/invoke"]
      ] as const
      yield* served(env, { page: { root } }, (call) =>
        Effect.gen(function* () {
          for (const [method, path] of routes) assert.strictEqual((yield* call(method, path)).status, 401, path)
          const { plugins } = configIn((yield* call("GET", "/")).text)
          assert.deepStrictEqual(plugins, {
            files: { volumes: ["uploads"] },
            serving: { isNamedMode: false, aliases: ["default"] }
          })
        })
      )
      yield* served({}, {}, (call) =>
        Effect.forEach(routes, ([method, path]) =>
          Effect.map(call(method, path), ({ status }) => assert.strictEqual(status, 404, path))
        )
      )
    })
  )

  it.effect("serves the queries of a folder and the metric views of a file", () =>
    Effect.gen(function* () {
      const folder = mkdtempSync(join(tmpdir(), "appkit-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      writeFileSync(join(folder, "mine.obo.sql"), "SELECT 1 AS one")
      const file = join(folder, "definitions.json")
      writeFileSync(file, JSON.stringify({ metricViews: { sales: { source: "main.app.sales", executor: "user" } } }))
      const routes = ["/api/analytics/query/mine", "/api/analytics/metric/sales"]
      const statuses = (options: AppKit.Options) =>
        served({}, options, (call) =>
          Effect.forEach(routes, (path) =>
            Effect.map(call("POST", path, { body: { format: "JSON_ARRAY", measures: ["a"] } }), ({ status }) => status)
          )
        )
      assert.deepStrictEqual(yield* statuses({ analytics: { directory: folder }, metricViews: { file } }), [401, 401])
      assert.deepStrictEqual(yield* statuses({}), [404, 404])
      assert.include(String(yield* Effect.flip(statuses({ analytics: {} }))), "config/queries")
      const withoutWarehouse = Layer.effect(
        ServiceContext.ServiceContext,
        ServiceContext.ServiceContext.useSync((service) => ({ ...service, warehouseId: Option.none() }))
      )
      const queries = AppKit.layerConfig({ analytics: { directory: folder } })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(serve(Layer.provide(queries, withoutWarehouse)))))
      assert.include(String(error), "needs a SQL warehouse: set DATABRICKS_WAREHOUSE_ID")
    })
  )

  it.effect("serves no job and no page that neither the environment nor an option names", () =>
    served({}, {}, (call) =>
      Effect.gen(function* () {
        for (const path of ["/", "/api/jobs/default/status"]) {
          assert.strictEqual((yield* call("GET", path)).status, 404, path)
        }
      })
    )
  )

  it.effect("starts no run of a job of the environment by default", () =>
    served({ DATABRICKS_JOB_ID: ids.echo }, {}, (call) =>
      Effect.gen(function* () {
        const headers = yield* requestOf(alice)
        assert.strictEqual((yield* call("POST", "/api/jobs/default/run", { headers })).status, 403)
        assert.strictEqual((yield* call("GET", "/api/jobs/default/status", { headers })).status, 200)
      })
    )
  )

  it.effect("takes an option in place of the variable with the same key", () =>
    served(
      { DATABRICKS_JOB_ETL: ids.etl },
      { jobs: { jobs: { etl: { job: Jobs.job({ id: ids.wide, parameters: Schema.Struct({}) }) } } } },
      (call) =>
        Effect.gen(function* () {
          const headers = yield* requestOf(alice)
          assert.isNull((yield* call("GET", "/api/jobs/etl/status", { headers })).json.run)
        })
    )
  )

  it.effect("fails the start with a ConfigError that names the variable of a wrong id", () =>
    Effect.gen(function* () {
      for (const id of ["12abc", "0", "1".repeat(20)]) {
        const error = yield* Effect.flip(served({ DATABRICKS_JOB_MY_ETL: id }, {}, () => Effect.void))
        assert.include(String(error), "DATABRICKS_JOB_MY_ETL is not the id of a job")
      }
      const error = yield* Effect.flip(served({ DATABRICKS_VOLUME_A: "main.app.uploads" }, {}, () => Effect.void))
      assert.include(String(error), "DATABRICKS_VOLUME_A is not the path of a volume")
    })
  )

  it.effect("reads families of variables from an environment and from a record", () =>
    Effect.gen(function* () {
      const names = { DATABRICKS_JOB_A: "1", DATABRICKS_JOB_A_B: "2", DATABRICKS_JOB__C: "3", DATABRICKS_JOBS_D: "4" }
      const numbers = { DATABRICKS_JOB_0: "5", DATABRICKS_JOB_2: "6" }
      for (const values of [names, numbers, { ...names, ...numbers }]) {
        for (const provider of [ConfigProvider.fromEnvRecord(values), ConfigProvider.fromUnknown(values)]) {
          const found = yield* Environment.family("DATABRICKS_JOB_").pipe(
            Effect.provideService(ConfigProvider.ConfigProvider, provider)
          )
          assert.deepStrictEqual(
            found.toSorted(),
            Object.entries(values)
              .filter(([name]) => name.startsWith("DATABRICKS_JOB_"))
              .map(([name, value]) => [name.slice("DATABRICKS_JOB_".length), value] as const)
              .toSorted()
          )
        }
      }
      const far = ConfigProvider.fromEnvRecord({ DATABRICKS_JOB_4000000000: "1" })
      const error = yield* Environment.family("DATABRICKS_JOB_").pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, far),
        Effect.flip
      )
      assert.include(error.message, "DATABRICKS_JOB_4000000000 ends with a number")
    })
  )
})
