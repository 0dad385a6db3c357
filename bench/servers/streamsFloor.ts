/** The floor of what streams: a server by hand on `node:http`, `fetch` and `pg`. It trusts the headers, and keeps no event. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { Pool } from "pg"
import { database, pgPort, port, sslMode, warehouse, workspace } from "./floorArguments.ts"

const authorization = (request: IncomingMessage) => `Bearer ${String(request.headers["x-forwarded-access-token"])}`

const eventStream = { "content-type": "text/event-stream", "cache-control": "no-store" }

const pipe = (response: ServerResponse, { body }: Response) =>
  // The types of the web's streams differ from those of Node's.
  pipeline(Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]), response)

const chat = async (request: IncomingMessage, response: ServerResponse) => {
  const body = JSON.stringify({ ...(await json(request)), stream: true })
  const headers = { authorization: authorization(request), "content-type": "application/json" }
  const answer = await fetch(`${workspace}/serving-endpoints/model/invocations`, { method: "POST", headers, body })
  response.writeHead(answer.status, eventStream)
  await pipe(response, answer)
}

const download = async (request: IncomingMessage, response: ServerResponse) => {
  const path = new URL(request.url!, workspace).searchParams.get("path")
  const answer = await fetch(`${workspace}/api/2.0/fs/files/Volumes/main/default/files/${path}`, {
    headers: { authorization: authorization(request) }
  })
  response.writeHead(answer.status, { "content-length": answer.headers.get("content-length")! })
  await pipe(response, answer)
}

const events = (interval: number) => (_: IncomingMessage, response: ServerResponse) => {
  response.writeHead(200, eventStream).write(": heartbeat\n\n")
  let n = 0
  const ticking = setInterval(() => {
    const at = performance.timeOrigin + performance.now()
    response.write(`id: ${n}\nevent: tick\ndata: ${JSON.stringify({ n: n++, at })}\n\n`)
  }, interval)
  const alive = setInterval(() => response.write(": heartbeat\n\n"), 10_000)
  response.once("close", () => {
    clearInterval(ticking)
    clearInterval(alive)
  })
}

const json = async (request: IncomingMessage) => {
  let text = ""
  for await (const some of request.setEncoding("utf8")) text += some
  return JSON.parse(text) as object
}

/** The service principal's pool, with a table. Its token lives longer than the measurement. */
const pool = (async () => {
  // oxlint-disable-next-line node/no-process-env -- it has no configuration of its own
  const { DATABRICKS_CLIENT_ID: user = "", DATABRICKS_CLIENT_SECRET: secret = "" } = process.env
  const answer = await fetch(`${workspace}/oidc/v1/token`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${user}:${secret}`)}` },
    body: new URLSearchParams({ grant_type: "client_credentials", scope: "all-apis" })
  })
  const { access_token: password } = (await answer.json()) as { readonly access_token: string }
  const ssl = sslMode === "require"
  const pool = new Pool({ host: "127.0.0.1", port: Number(pgPort), database, user, password, ssl, max: 10 })
  await pool.query(
    "CREATE SCHEMA IF NOT EXISTS hand; CREATE TABLE IF NOT EXISTS hand.kept (id text PRIMARY KEY, value text)"
  )
  return pool
})()

const body = JSON.stringify({ statement: "SELECT item, region FROM sales", warehouse_id: warehouse })

const kept = async (request: IncomingMessage, response: ServerResponse) => {
  const id = request.headers["x-forwarded-user"]
  const sql = await pool
  const { rows } = await sql.query<{ readonly value: string }>("SELECT value FROM hand.kept WHERE id = $1", [id])
  if (rows[0] !== undefined) return send(response, rows[0].value)
  const headers = { authorization: authorization(request), "content-type": "application/json" }
  const answer = await fetch(`${workspace}/api/2.0/sql/statements`, { method: "POST", headers, body })
  const { result } = (await answer.json()) as { readonly result: { readonly data_array: ReadonlyArray<Array<string>> } }
  const value = JSON.stringify(result.data_array.map(([item, region]) => ({ item, region })))
  await sql.query("INSERT INTO hand.kept VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = $2", [id, value])
  send(response, value)
}

const send = (response: ServerResponse, body: string) =>
  void response
    .writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
    .end(body)

const routes: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
  "/health": (_, response) => send(response, JSON.stringify({ status: "ok" })),
  "/api/serving/llm/stream": chat,
  "/api/files/files/download": download,
  "/ticks": events(20),
  "/quiet": events(600_000),
  "/kept": kept
}

const server = createServer(async (request, response) => {
  try {
    await routes[request.url!.split("?")[0]!]!(request, response)
  } catch {
    response.destroy()
  }
})
server.listen(Number(port), "127.0.0.1")
process.on("SIGTERM", () => process.exit(0))
