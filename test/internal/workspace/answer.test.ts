/** A malformed response of the workspace is a typed failure, soon and in bounded memory. */
import { assert, describe, it } from "@effect/vitest"
import {
  asUser,
  getWorkspaceClient,
  ServiceContext,
  SqlWarehouse,
  UserContext,
  type WorkspaceClient
} from "effect-databricks"
import { Cause, Duration, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import type { Socket } from "node:net"
import { gzipSync } from "node:zlib"
import * as Credentials from "../../../src/internal/lakebase/credentials.ts"
import * as RawServer from "../../fixtures/rawServer.ts"
import { discovery, hurried, layerOf, me, turn, warehouses } from "../../fixtures/start.ts"

const statements = "/api/2.0/sql/statements"
const chunk = `${statements}/s/result/chunks/1`
const column = { name: "x", type_text: "INT", type_name: "INT", position: 0 }
const manifest = {
  format: "JSON_ARRAY",
  schema: { column_count: 1, columns: [column] },
  total_chunk_count: 2,
  total_row_count: 2,
  truncated: false,
  chunks: [
    { chunk_index: 0, row_offset: 0, row_count: 1 },
    { chunk_index: 1, row_offset: 1, row_count: 1 }
  ]
}

/** The right body of each path. */
const good: Record<string, (origin: string) => unknown> = {
  [me]: () => ({ id: "1", userName: "alice@example.com" }),
  // Without a token at the documented endpoint, so that this one is discovered.
  [discovery]: (origin) => ({ token_endpoint: `${origin}/token` }),
  "/token": () => ({ access_token: "t", token_type: "Bearer", expires_in: 3600 }),
  [warehouses]: () => ({ warehouses: [{ id: "w", state: "RUNNING" }] }),
  "/api/2.0/postgres/credentials": () => ({ token: "p", expire_time: "2099-01-01T00:00:00Z" }),
  "/api/2.1/jobs/get": () => ({ job_id: 7 }),
  [statements]: () => ({
    statement_id: "s",
    status: { state: "SUCCEEDED" },
    manifest,
    result: { chunk_index: 0, row_offset: 0, row_count: 1, next_chunk_index: 1, data_array: [["1"]] }
  }),
  [chunk]: () => ({ chunk_index: 1, row_offset: 1, row_count: 1, data_array: [["2"]] })
}

type Answer = (socket: Socket, good: string) => void

/** A workspace that gives `answer` to requests of one path with this token, and right bodies to all others. */
const workspace = (path: string, token: string, answer: Answer) =>
  Effect.map(
    RawServer.http((request, response) => {
      const asked = request.url?.split("?")[0] ?? ""
      const body = JSON.stringify(good[asked]?.(`http://${request.headers.host}`) ?? {})
      request.resume()
      if (asked === path && (request.headers.authorization ?? "").includes(token)) return answer(request.socket, body)
      response.writeHead(200, { "content-type": "application/json", "x-databricks-org-id": "1" }).end(body)
    }),
    ({ origin }) => origin
  )

const startedWith = (env: Record<string, string>) => (host: string) =>
  Effect.provide(ServiceContext.ServiceContext, layerOf({ DATABRICKS_HOST: host, ...env }), { local: true })

const within =
  <A, E>(effect: Effect.Effect<A, E, ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient>) =>
  (host: string) =>
    Effect.provide(effect, layerOf({ DATABRICKS_HOST: host, DATABRICKS_TOKEN: "t" }), { local: true })

const jobs = "/api/2.1/jobs/get"
const passwords = "/api/2.0/postgres/credentials"
const Job = Schema.Struct({ job_id: Schema.Int })
const Row = Schema.Struct({ x: Schema.Int })

const queried = within(
  Effect.provide(
    SqlWarehouse.query(Row, { warehouseId: "w" })`SELECT x FROM t`,
    Layer.provideMerge(
      SqlWarehouse.layer,
      Layer.effectContext(Effect.context<ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient>())
    )
  )
)

/** Each reader of a response: its path, its token, and how it reads. */
const readers: Record<string, readonly [string, string, (host: string) => Effect.Effect<unknown, unknown>]> = {
  "SCIM Me at start-up": [me, "Bearer t", startedWith({ DATABRICKS_TOKEN: "t" })],
  "OAuth discovery": [discovery, "", startedWith({ DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" })],
  "an OAuth token request": ["/token", "", startedWith({ DATABRICKS_CLIENT_ID: "c", DATABRICKS_CLIENT_SECRET: "s" })],
  // No warehouse is chosen, and a warning says why.
  "the warehouse list": [warehouses, "", startedWith({ DATABRICKS_TOKEN: "t", NODE_ENV: "development" })],
  "a user's SCIM Me": [
    me,
    "a.b.c",
    within(Effect.provide(UserContext, asUser({ "x-forwarded-user": "1@2", "x-forwarded-access-token": "a.b.c" })))
  ],
  "a Lakebase password request": [
    passwords,
    "",
    within(
      Effect.gen(function* () {
        const { principal } = yield* ServiceContext.ServiceContext
        const { send } = yield* getWorkspaceClient
        const { token } = yield* Credentials.make((request) => send(request), "e", Duration.seconds(10))
        return yield* token(principal)
      })
    )
  ],
  "a requestJson call": [
    jobs,
    "",
    within(Effect.flatMap(getWorkspaceClient, (_) => _.requestJson(HttpClientRequest.get(jobs), Job)))
  ],
  "an SDK call": [
    jobs,
    "",
    within(Effect.flatMap(getWorkspaceClient, (_) => _.use((sdk) => sdk.jobs.get({ job_id: 7 }))))
  ],
  "a statement": [statements, "", queried],
  "a result chunk request": [chunk, "", queried]
}

const head = (...headers: ReadonlyArray<string>) =>
  ["HTTP/1.1 200 OK", "content-type: application/json", "x-databricks-org-id: 1", ...headers, "", ""].join("\r\n")

const sends =
  (body: (good: string) => string | Buffer, ...headers: ReadonlyArray<string>): Answer =>
  (socket, good) => {
    const bytes = Buffer.from(body(good))
    socket.write(head(`content-length: ${bytes.length}`, ...headers))
    socket.write(bytes)
  }

/** 100 MB, if anything unpacked them. */
const bomb = gzipSync(Buffer.alloc(100_000_000, " "))

const answers: Record<string, Answer> = {
  nothing: sends(() => ""),
  "half of it": sends((good) => good.slice(0, good.length / 2)),
  "HTML, said to be JSON": sends(() => "<!doctype html><title>Sign in</title>"),
  null: sends(() => "null"),
  "an array": sends(() => "[]"),
  "an array of it": sends((good) => `[${good}]`),
  "it twice": sends((good) => good + good),
  "a text": sends((good) => JSON.stringify(good)),
  "other bytes than UTF-8": sends((good) => Buffer.from(good.replace(/"[^"]*"/, '"\xff"'), "latin1")),
  "UTF-16": sends((good) => Buffer.from(good, "utf16le")),
  "what is nested very deep": sends(() => `${"[".repeat(200_000)}${"]".repeat(200_000)}`),
  "a compression bomb": sends(() => bomb, "content-encoding: gzip"),
  "a huge length": (socket, good) => void socket.write(head("content-length: 99999999999") + good),
  "less than its length": (socket, good) => void socket.end(head(`content-length: ${good.length + 1}`) + good),
  "a chunk that breaks off": (socket, good) => void socket.end(`${head("transfer-encoding: chunked")}ff\r\n${good}`),
  "no HTTP": (socket) => void socket.end("220 smtp.example.com ESMTP\r\n\r\n"),
  "headers without end": (socket) =>
    void socket.write(head(...Array.from({ length: 2_000 }, (_, i) => `x-${i}: ${i}`.repeat(9)))),
  "no connection": (socket) => void socket.destroy()
}

const typed = [
  "effect-databricks/DatabricksError",
  "effect-databricks/ServiceContextError",
  "effect-databricks/IdentityUnavailableError",
  "effect-databricks/RowDecodeError"
]

/** Accepts a typed failure with a sentence of bounded length, or a success. */
const holds = (exit: Exit.Exit<unknown, unknown>, what: string) => {
  if (Exit.isSuccess(exit)) return
  assert.isFalse(Cause.hasDies(exit.cause), `${what}: ${Cause.pretty(exit.cause)}`)
  const error = Cause.squash(exit.cause)
  assert.instanceOf(error, Error)
  if (!(error instanceof Error)) return
  assert.include(typed, error.name, what)
  assert.isBelow(error.message.length, 1_500, what)
}

const asked = ([path, token, read]: (typeof readers)[string], answer: Answer) =>
  Effect.exit(Effect.scoped(Effect.flatMap(workspace(path, token, answer), read)))

// The first starts without a warehouse; the SDK does not check the shapes of the second.
const lenient = ["the warehouse list", "an SDK call"]

describe("A malformed workspace response", () => {
  for (const [name, reader] of Object.entries(readers)) {
    it.live(`to ${name} is never a defect, only a typed error`, () =>
      Effect.gen(function* () {
        for (const [what, answer] of Object.entries(answers)) {
          const exit = yield* hurried(asked(reader, answer))
          holds(exit, what)
          if (!lenient.includes(name)) assert.isTrue(Exit.isFailure(exit), what)
        }
      })
    )
  }

  it.live.prop(
    "of any JSON, or of a part of the right body, is never a defect",
    { name: Schema.Literals(Object.keys(readers)), json: Schema.Json, part: Schema.Number },
    ({ json, name, part }) =>
      Effect.gen(function* () {
        const reader = readers[name]!
        holds(
          yield* hurried(
            asked(
              reader,
              sends(() => JSON.stringify(json))
            )
          ),
          name
        )
        const length = (good: string) => Math.abs(Math.trunc(part)) % good.length || 1
        holds(
          yield* hurried(
            asked(
              reader,
              sends((good) => good.slice(0, length(good)))
            )
          ),
          name
        )
      })
  )

  for (const name of [
    "SCIM Me at start-up",
    "an OAuth token request",
    "a user's SCIM Me",
    "a Lakebase password request"
  ]) {
    it.effect(`to ${name} fails and closes its connection when its body takes 10 s`, () =>
      Effect.gen(function* () {
        let closed: boolean | undefined
        const reading = yield* Effect.forkChild(
          asked(readers[name]!, (socket, good) => {
            socket.write(head("transfer-encoding: chunked"))
            socket.write(`1\r\n${good[0]}\r\n`)
            closed = false
            socket.once("close", () => (closed = true))
          })
        )
        yield* Effect.repeat(turn, { until: () => closed === false })
        yield* TestClock.adjust("10 seconds")
        const exit = yield* Fiber.join(reading)
        holds(exit, name)
        assert.isTrue(Exit.isFailure(exit))
        yield* Effect.repeat(turn, { until: () => closed === true })
      })
    )
  }
})
