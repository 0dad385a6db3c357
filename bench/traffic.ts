/** The process that reads what the servers stream, and that is the streaming part of their workspace. */
import { Agent, request, type IncomingMessage } from "node:http"
import { answer } from "./answer.ts"
import type { Certificates } from "./certificates.ts"
import * as Origin from "./origin.ts"

type Headers = Readonly<Record<string, string>>

export interface Chats {
  readonly do: "chats"
  readonly port: number
  readonly pace: Origin.Pace
  /** One answer at a time for each of these users. */
  readonly users: ReadonlyArray<Headers>
  readonly seconds: number
}

export interface ChatsOutcome {
  readonly chunks: number
  readonly seconds: number
  /** Chunks that arrived only after the model had sent the next one. */
  readonly held: number
  /** Milliseconds from the model to the client. */
  readonly p50: number
  readonly p99: number
}

export interface Download {
  readonly do: "download"
  readonly port: number
  readonly headers: Headers
  readonly size: number
}

export interface Listen {
  readonly do: "listen"
  readonly port: number
  readonly path: string
  readonly users: ReadonlyArray<Headers>
}

export interface ListenOutcome {
  readonly events: number
  readonly comments: number
  /** Clients that have received a comment, by the port of their server. */
  readonly alive: Readonly<Record<number, number>>
  readonly lost: number
  /** Clients whose stream has ended. */
  readonly ended: number
  /** Milliseconds from the server's clock to the client. */
  readonly p99: number
}

export type Question =
  | { readonly do: "origin"; readonly upstream: string; readonly certificates: Pick<Certificates, "cert" | "key"> }
  | Chats
  | Download
  | Listen
  /** What the clients have received since the last time. */
  | { readonly do: "count" }
  | { readonly do: "leave" }

let origin: Origin.Origin

const open = (port: number, path: string, headers: Headers, agent: Agent, body?: string) =>
  new Promise<IncomingMessage>((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST"
    const type = body === undefined ? {} : { "content-type": "application/json", "content-length": body.length }
    request({ host: "127.0.0.1", port, path, method, agent, headers: { ...headers, ...type } }, (response) => {
      if (response.statusCode === 200) return resolve(response)
      let text = ""
      response.setEncoding("utf8").on("data", (some: string) => (text += some))
      response.on("end", () => reject(new Error(`${path} answers ${response.statusCode}: ${text}`)))
    })
      .on("error", reject)
      .end(body)
  })

/** The fields and the comments of a stream of events, which all come in ASCII. */
const lines = (response: IncomingMessage, each: (line: string) => void) => {
  let rest = ""
  response.setEncoding("latin1").on("data", (text: string) => {
    const all = (rest + text).split("\n")
    rest = all.pop()!
    all.forEach(each)
  })
}

const at = (values: ReadonlyArray<number>, part: number) =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * part)] ?? Number.NaN

let chatsStarted = 0
/** A chunk that has not arrived after this many milliseconds is held back. */
const patience = 500

const chats = async ({ pace, port, seconds, users }: Chats): Promise<ChatsOutcome> => {
  const agent = new Agent({ keepAlive: true })
  const start = performance.now()
  const latencies: Array<number> = []
  let received = 0
  let held = 0
  const chat = async (headers: Headers) => {
    const id = ++chatsStarted
    const response = await open(port, "/api/serving/llm/stream", headers, agent, Origin.question(pace, id))
    let count = 0
    let sent = performance.now()
    const late = () => {
      held++
      origin.next(id)
    }
    let timer = pace === "each" ? setTimeout(late, patience) : undefined
    await new Promise<void>((resolve, reject) => {
      lines(response, (line) => {
        if (!line.startsWith("data: {")) return
        if (line !== `data: ${Origin.chunks[count]}`) reject(new Error(`Chunk ${count} of ${port} is ${line}`))
        count++
        if (pace === "all") return
        clearTimeout(timer)
        latencies.push(performance.now() - sent)
        if (count === Origin.chunks.length) return
        timer = setTimeout(late, patience)
        sent = performance.now()
        origin.next(id)
      })
      response.on("error", reject).on("end", resolve)
    })
    clearTimeout(timer)
    if (count !== Origin.chunks.length) throw new Error(`${count} chunks have arrived`)
    received += count
  }
  await Promise.all(
    users.map(async (headers) => {
      while (performance.now() < start + seconds * 1000) await chat(headers)
    })
  )
  agent.destroy()
  return {
    chunks: received,
    seconds: (performance.now() - start) / 1000,
    held,
    p50: at(latencies, 0.5),
    p99: at(latencies, 0.99)
  }
}

const download = async ({ headers, port, size }: Download) => {
  const agent = new Agent()
  const start = performance.now()
  const response = await open(port, `/api/files/files/download?path=${size}.bin`, headers, agent)
  let received = 0
  response.on("data", (part: Buffer) => {
    received += part.length
    if (part[0] !== 7 || part.at(-1) !== 7) throw new Error("A byte has changed")
  })
  await new Promise((resolve, reject) => response.on("end", resolve).on("error", reject))
  agent.destroy()
  if (received !== size) throw new Error(`${received} bytes of ${size} have arrived`)
  return { seconds: (performance.now() - start) / 1000 }
}

interface Listener {
  readonly port: number
  readonly response: IncomingMessage
  next: number
}

let listeners: ReadonlyArray<Listener> = []
let count = { events: 0, lost: 0, ended: 0, comments: 0 }
let heard = new Set<Listener>()
let ages: Array<number> = []

const listen = async ({ path, port, users }: Listen) => {
  const agent = new Agent({ maxSockets: users.length })
  const more = await Promise.all(
    users.map(async (headers) => {
      const listener: Listener = { port, response: await open(port, path, headers, agent), next: -1 }
      lines(listener.response, (line) => {
        if (line.startsWith(":")) {
          count.comments++
          heard.add(listener)
        }
        if (!line.startsWith("data: {")) return
        const tick = JSON.parse(line.slice(6)) as { readonly n: number; readonly at: number }
        if (listener.next >= 0) count.lost += Math.abs(tick.n - listener.next)
        listener.next = tick.n + 1
        count.events++
        ages.push(performance.timeOrigin + performance.now() - tick.at)
      })
      listener.response.on("end", () => count.ended++).on("error", () => count.ended++)
      return listener
    })
  )
  listeners = [...listeners, ...more]
  return {}
}

const counted = (): ListenOutcome => {
  const alive: Record<number, number> = {}
  for (const { port } of heard) alive[port] = (alive[port] ?? 0) + 1
  const outcome = { ...count, alive, p99: at(ages, 0.99) }
  count = { events: 0, lost: 0, ended: 0, comments: 0 }
  heard = new Set()
  ages = []
  return outcome
}

answer(async (question: Question) => {
  switch (question.do) {
    case "origin": {
      origin = await Origin.start(question.upstream, question.certificates)
      return { url: origin.url }
    }
    case "chats":
      return chats(question)
    case "download":
      return download(question)
    case "listen":
      return listen(question)
    case "count":
      return counted()
    case "leave": {
      for (const { response } of listeners)
        response
          .removeAllListeners("error")
          .on("error", () => {})
          .destroy()
      listeners = []
      return {}
    }
  }
})
