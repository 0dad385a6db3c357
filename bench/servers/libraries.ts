/** What ours imports, and nothing of ours: how soon it could answer at the best. */
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
