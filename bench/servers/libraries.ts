/** The imports of ours without our code: the lower bound of its start. */
import { createServer } from "node:http"

const libraries = [
  "effect",
  "effect/http",
  "effect/http-api",
  "@effect/platform-node/NodeHttpClient",
  "@effect/platform-node/NodeHttpServer",
  "@effect/sql-pg",
  "@databricks/sdk-experimental/dist/config/Config.js"
]

await Promise.all(libraries.map((name) => import(name)))
createServer((_, response) => void response.end()).listen(Number(process.argv[2]), "127.0.0.1")
process.on("SIGTERM", () => process.exit(0))
