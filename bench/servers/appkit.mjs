// AppKit's server with its Lakebase and analytics plugins. It is not TypeScript so that `npm run check` passes where
// the peers are not installed.
import { analytics, createApp, lakebase, Plugin, server, toPlugin } from "@databricks/appkit"
import { answer, cached } from "./appkitShared.mjs"

const query = "SELECT item, region FROM sales"

let app

// `appkit.analytics.asUser(request).query` throws in this version, as its `query` has lost its plugin; a plugin of one's
// own can call it as the user. Caching is what `execute` does for a plugin, and less work than the route of the
// analytics plugin, which reads its query from a file and answers with a stream of events.
class Sales extends Plugin {
  static manifest = {
    name: "sales",
    displayName: "sales",
    description: "A query of the warehouse",
    resources: { required: [], optional: [] }
  }
  async query() {
    return (await app.analytics.query(query)).data
  }
  cached() {
    return cached(this, () => this.query())
  }
  exports() {
    return { query: this.query.bind(this), cached: this.cached.bind(this) }
  }
}

// By default the cache is a table of Lakebase. AppKit's own in memory is faster, and is what it falls back to.
const unavailable = { healthCheck: async () => false }

await createApp({
  cache: { storage: unavailable },
  plugins: [server({ host: "127.0.0.1" }), lakebase(), analytics({}), toPlugin(Sales)()],
  onPluginsReady(appkit) {
    app = appkit
    appkit.server.extend((express) => {
      express.get(
        "/orders",
        answer(async (request) => {
          const { rows } = await appkit.lakebase
            .asUser(request)
            .query("SELECT item, amount FROM desk.orders ORDER BY id")
          return rows
        })
      )
      express.get(
        "/sales",
        answer((request) => appkit.sales.asUser(request).query())
      )
      express.get(
        "/cached",
        answer((request) => appkit.sales.asUser(request).cached())
      )
    })
  }
})
