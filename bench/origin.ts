/** The part of a workspace that streams: a model, and a file of any size. Forwards every other request. */
import type { IncomingMessage, ServerResponse } from "node:http"
import { Agent, createServer, request as forward } from "node:https"
import type { AddressInfo } from "node:net"
import type { Certificates } from "./certificates.ts"

/** The chunks of one answer of the model. */
export const chunks = Array.from({ length: 200 }, (_, index) =>
  JSON.stringify({
    id: "chatcmpl-01ef0000-0000-4000-8000-000000000000",
    object: "chat.completion.chunk",
    created: 1_796_000_000,
    model: "databricks-claude-sonnet-4-5",
    choices: [{ index: 0, delta: { role: "assistant", content: ` word${index}` }, finish_reason: null }]
  })
)

/** How the model sends: one chunk for each `next`, or all at once. */
export type Pace = "each" | "all"

/** The body of a request to the model. */
export const question = (pace: Pace, id: number) =>
  JSON.stringify({ messages: [{ role: "user", content: "Count" }], max_tokens: 500, user: `${pace} ${id}` })

export interface Origin {
  readonly url: string
  /** Lets the model send the next chunk of a paced answer. */
  readonly next: (id: number) => void
}

const event = (data: string) => Buffer.from(`data: ${data}\n\n`)
const events = [...chunks, "[DONE]"].map(event)
const whole = Buffer.concat(events)
const part = Buffer.alloc(256 * 1024, 7)

export const start = (upstream: string, certificates: Pick<Certificates, "cert" | "key">): Promise<Origin> => {
  const agent = new Agent({ keepAlive: true })
  const paced = new Map<number, () => void>()

  const chat = async (request: IncomingMessage, response: ServerResponse) => {
    let text = ""
    for await (const some of request.setEncoding("utf8")) text += some
    const { user } = JSON.parse(text) as { readonly user: string }
    const [pace, id] = user.split(" ")
    response.writeHead(200, { "content-type": "text/event-stream" })
    if (pace === "all") return void response.end(whole)
    let sent = 0
    const next = () => {
      response.write(events[sent++]!)
      if (sent < chunks.length) return
      paced.delete(Number(id))
      response.end(events[sent])
    }
    paced.set(Number(id), next)
    next()
  }

  const file = (size: number, response: ServerResponse) => {
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": size })
    let left = size
    const send = () => {
      while (left > 0) {
        const bytes = part.subarray(0, left)
        left -= bytes.length
        if (!response.write(bytes)) return
      }
      response.end()
    }
    response.on("drain", send)
    send()
  }

  const server = createServer({ ...certificates, keepAliveTimeout: 60_000 }, (request, response) => {
    const { headers, method, url = "" } = request
    if (url.startsWith("/serving-endpoints/")) return void chat(request, response)
    const [, size] = /^\/api\/2\.0\/fs\/files\/.*\/(\d+)\.bin$/.exec(url) ?? []
    if (size !== undefined) return file(Number(size), response)
    const onward = forward(upstream + url, { method, headers, agent }, (back) => {
      response.writeHead(back.statusCode!, back.headers)
      back.pipe(response)
    })
    onward.on("error", () => response.destroy())
    request.pipe(onward)
  })
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo // it listens on TCP
      resolve({ url: `https://127.0.0.1:${port}`, next: (id) => paced.get(id)?.() })
    })
  })
}
