/** The process that the load comes from: HTTP/1.1 over kept connections, one request at a time on each. */
import { connect, type Socket } from "node:net"
import { performance } from "node:perf_hooks"
import { answer } from "./answer.ts"

export interface Job {
  readonly port: number
  readonly path: string
  readonly connections: number
  /** How long, at most. */
  readonly seconds?: number
  /** Requests a second, at most. Otherwise as fast as the answers come. */
  readonly rate?: number
  /** Each sender once, and no more. */
  readonly once?: boolean
  readonly senders: ReadonlyArray<Sender>
}

export interface Sender {
  readonly headers: Readonly<Record<string, string>>
  /** The body that this sender must get, and no other sender. */
  readonly due: string
}

export interface Outcome {
  readonly answered: number
  readonly seconds: number
  /** In milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Requests that got no answer with status 200. */
  readonly failed: number
  readonly failure: string | undefined
  /** Responses with status 200 and the wrong body, which may be another user's. */
  readonly wrong: number
  readonly wrongBody: string | undefined
}

const run = (job: Job) =>
  new Promise<Outcome>((resolve) => {
    const latencies: Array<number> = []
    let failed = 0
    let failure: string | undefined
    let wrong = 0
    let wrongBody: string | undefined
    let open = job.connections
    const start = performance.now()
    const end = start + (job.seconds ?? Infinity) * 1000

    /** Every connection has its own senders, so that no user has two requests in flight. */
    const client = (number: number) => {
      const senders = job.senders
        .filter((_, index) => index % job.connections === number)
        .map(({ due, headers }) => {
          const lines = Object.entries({ host: `127.0.0.1:${job.port}`, accept: "application/json", ...headers })
          const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")
          return { due, bytes: Buffer.from(`GET ${job.path} HTTP/1.1\r\n${head}\r\n`) }
        })
      let next = 0
      let sent = 0
      let text = ""
      let socket: Socket
      const done = () => {
        socket.destroy()
        if (--open === 0) finish()
      }
      const interval = job.rate === undefined ? 0 : (job.connections / job.rate) * 1000
      let due = start + (number / job.connections) * interval
      const over = () => performance.now() >= end || next >= (job.once === true ? senders.length : Infinity)
      const send = () => {
        if (senders.length === 0 || over()) return done()
        sent = performance.now()
        if (sent < due) return void setTimeout(send, due - sent)
        due += interval
        text = ""
        socket.write(senders[next % senders.length]!.bytes)
      }
      const fail = (what: string) => {
        failed++
        failure ??= what
        next++
        if (over()) return done()
        socket.destroy()
        dial()
      }
      const dial = () => {
        socket = connect(job.port, "127.0.0.1", send).setNoDelay().setEncoding("latin1")
        socket.on("error", (error) => fail(String(error)))
        socket.on("end", () => fail("The connection was closed"))
        socket.on("data", (chunk: string) => {
          text += chunk
          const body = bodyOf(text)
          if (body === undefined) return
          latencies.push(performance.now() - sent)
          if (!text.startsWith("HTTP/1.1 200")) {
            failed++
            failure ??= text
          } else if (body !== senders[next % senders.length]!.due) {
            wrong++
            wrongBody ??= body
          }
          next++
          send()
        })
      }
      dial()
    }

    const finish = () => {
      const seconds = (performance.now() - start) / 1000
      const sorted = Float64Array.from(latencies).toSorted()
      const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)] ?? NaN
      const answered = latencies.length
      resolve({ answered, seconds, p50: at(0.5), p99: at(0.99), failed, failure, wrong, wrongBody })
    }

    for (let number = 0; number < job.connections; number++) client(number)
  })

/** The body once it is whole; all that is sent here is ASCII. */
const bodyOf = (text: string): string | undefined => {
  const head = text.indexOf("\r\n\r\n")
  if (head < 0) return undefined
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head + 2))?.[1]
  if (length !== undefined) {
    const end = head + 4 + Number(length)
    return text.length < end ? undefined : text.slice(head + 4, end)
  }
  if (!text.endsWith("0\r\n\r\n")) return undefined
  return text.slice(head + 4).replaceAll(/[0-9a-f]+\r\n([^]*?)\r\n/gi, "$1")
}

answer(run)
