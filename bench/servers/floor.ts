/**
 * The floor: a server by hand on `node:http` and `pg`, with a pool for each user. It trusts the headers, has no traces
 * and no log of requests, and limits only the connections of one user.
 */
import { createServer, type IncomingMessage } from "node:http"
import { Pool } from "pg"
import { database, pgPort, port, sslMode, warehouse, workspace } from "./floorArguments.ts"

const header = (request: IncomingMessage, name: string) => String(request.headers[name])

const pools = new Map<string, Pool>()

const poolOf = (request: IncomingMessage) => {
  const user = header(request, "x-forwarded-email")
  let pool = pools.get(user)
  if (pool === undefined) {
    pool = new Pool({
      host: "127.0.0.1",
      port: Number(pgPort),
      database,
      user,
      password: header(request, "x-forwarded-access-token"),
      ssl: sslMode === "require",
      max: 3,
      idleTimeoutMillis: 30_000
    })
    pool.on("error", () => {})
    pools.set(user, pool)
  }
  return pool
}

const orders = async (request: IncomingMessage) => {
  const { rows } = await poolOf(request).query<object>("SELECT item, amount FROM desk.orders ORDER BY id")
  return rows
}

interface Statement {
  readonly result: { readonly data_array: ReadonlyArray<readonly [item: string, region: string]> }
}

const body = JSON.stringify({ statement: "SELECT item, region FROM sales", warehouse_id: warehouse })

const sales = async (request: IncomingMessage) => {
  const authorization = `Bearer ${header(request, "x-forwarded-access-token")}`
  const response = await fetch(`${workspace}/api/2.0/sql/statements`, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body
  })
  if (!response.ok) throw new Error(`The workspace answers ${response.status}`)
  const { result } = (await response.json()) as Statement
  return result.data_array.map(([item, region]) => ({ item, region }))
}

const kept = new Map<string, Promise<object>>()

const cached = (request: IncomingMessage) => {
  const user = header(request, "x-forwarded-user")
  const found = kept.get(user)
  if (found !== undefined) return found
  const asked = sales(request)
  kept.set(user, asked)
  return asked
}

const routes: Record<string, (request: IncomingMessage) => Promise<object>> = {
  "/health": () => Promise.resolve({ status: "ok" }),
  "/orders": orders,
  "/sales": sales,
  "/cached": cached
}

const server = createServer(async (request, response) => {
  const route = routes[request.url ?? ""]
  try {
    if (route === undefined) return void response.writeHead(404).end()
    const body = JSON.stringify(await route(request))
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body)
  } catch (error) {
    response.writeHead(500).end(String(error))
  }
})
server.listen(Number(port), "127.0.0.1")
process.on("SIGTERM", () => process.exit(0))
