// `asUser().method()` of a plugin whose method is run by `execute`, with a timeout and retries that are not needed.
import { createApp, Plugin, toPlugin } from "@databricks/appkit"

class Bench extends Plugin {
  static manifest = {
    name: "bench",
    displayName: "bench",
    description: "An operation",
    resources: { required: [], optional: [] }
  }
  method() {
    return this.execute(() => Promise.resolve(1), {
      default: { retry: { enabled: true, attempts: 3, initialDelay: 1000 }, timeout: 30_000 }
    })
  }
  exports() {
    return { method: this.method.bind(this) }
  }
}

const appkit = await createApp({ plugins: [toPlugin(Bench)()] })

process.on("message", async ({ headers, times }) => {
  const before = process.cpuUsage()
  for (let i = 0; i < times; i++) {
    const request = { headers: { ...headers }, header: (name) => request.headers[name] }
    const result = await appkit.bench.asUser(request).method()
    if (!result.ok) throw new Error(result.message)
  }
  const { system, user } = process.cpuUsage(before)
  process.send({ cost: (user + system) / times })
})
process.once("disconnect", () => process.exit(0))
