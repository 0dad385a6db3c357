// AppKit's server with its serving, files and analytics plugins. Its cache is the default: a table of Lakebase.
import { analytics, createApp, files, lakebase, Plugin, server, serving, toPlugin } from "@databricks/appkit"
import { setTimeout } from "node:timers/promises"
import { answer, cached } from "./appkitShared.mjs"

const query = "SELECT item, region FROM sales"

let app

const now = () => performance.timeOrigin + performance.now()

class Bench extends Plugin {
  static manifest = {
    name: "bench",
    displayName: "bench",
    description: "Events, and a cached query of the warehouse",
    resources: { required: [], optional: [] }
  }
  ticks(response, interval) {
    return this.executeStream(
      response,
      async function* (signal) {
        for (let n = 0; ; n++) {
          yield { type: "tick", n, at: now() }
          await setTimeout(interval, undefined, { signal })
        }
      },
      { default: {} }
    )
  }
  kept() {
    return cached(this, async () => (await app.analytics.query(query)).data)
  }
  exports() {
    return { ticks: this.ticks.bind(this), kept: this.kept.bind(this) }
  }
}

await createApp({
  plugins: [
    server({ host: "127.0.0.1" }),
    lakebase(),
    analytics({}),
    serving({ endpoints: { llm: { env: "DATABRICKS_SERVING_ENDPOINT_NAME" } } }),
    files({ volumes: { files: { auth: "on-behalf-of-user" } } }),
    toPlugin(Bench)()
  ],
  onPluginsReady(appkit) {
    app = appkit
    appkit.server.extend((express) => {
      express.get("/ticks", (request, response) => appkit.bench.asUser(request).ticks(response, 20))
      // No event comes before the measurement has ended.
      express.get("/quiet", (request, response) => appkit.bench.asUser(request).ticks(response, 600_000))
      express.get(
        "/kept",
        answer((request) => appkit.bench.asUser(request).kept())
      )
    })
  }
})
