/** A collector of OpenTelemetry, over HTTP and gRPC, that counts the spans it gets, by name. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { grpcServer } from "../test/fixtures/otlpReceiver.ts"
import { answer } from "./answer.ts"

const bodies: Array<Buffer> = []

const server = createServer(async (request, response) => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  // Read on request, so that the load has the CPU.
  if (request.url === "/v1/traces") bodies.push(Buffer.concat(chunks))
  response.writeHead(200, { "content-type": "application/x-protobuf" }).end()
})

/** Returns the length-delimited fields of a protobuf message. */
function* fields(message: Buffer) {
  let at = 0
  const varint = () => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++]!
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  while (at < message.length) {
    const key = varint()
    switch (key & 7) {
      case 0:
        varint()
        break
      case 1:
        at += 8
        break
      case 5:
        at += 4
        break
      default: {
        const length = varint()
        yield [key >> 3, message.subarray(at, at + length)] as const
        at += length
      }
    }
  }
}

/** Returns the fields at a path of field numbers. */
function* along(message: Buffer, [number, ...rest]: ReadonlyArray<number>): Iterable<Buffer> {
  for (const [field, value] of fields(message)) {
    if (field !== number) continue
    if (rest.length === 0) yield value
    else yield* along(value, rest)
  }
}

// resource_spans, scope_spans, spans, name
const nameOfSpan = [1, 2, 2, 5]

/** The number of spans of each name since the last request for it. */
const count = () => {
  const counts: Record<string, number> = {}
  for (const body of bodies.splice(0)) {
    for (const name of along(body, nameOfSpan)) counts[String(name)] = (counts[String(name)] ?? 0) + 1
  }
  return counts
}

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo // it listens on TCP
  grpcServer(
    0,
    (signal, { request }, respond) => {
      if (signal === "traces") bodies.push(request)
      respond(null, Buffer.alloc(0))
    },
    (_, grpcPort) =>
      answer((question: { readonly ask: "ports" | "spans" }) =>
        question.ask === "ports" ? { http: port, grpc: grpcPort } : count()
      )
  )
})
