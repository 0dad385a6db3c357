import { assert, layer } from "@effect/vitest"
import { DatabricksError } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { type Cause, Effect, Queue, Stream } from "effect"
import * as ResumableStreams from "../../../src/http/ResumableStreams.ts"
import * as Events from "../../../src/internal/appkit/events.ts"
import * as Failure from "../../../src/internal/appkit/failure.ts"
import * as Routes from "../../../src/internal/appkit/routes.ts"
import { type Opened, post } from "../../fixtures/connectSse.ts"
import { eventually } from "../../fixtures/eventually.ts"
import { alice, requestOf } from "../../fixtures/people.ts"
import { serve, Served } from "../../http/harness.ts"

const denied = new DatabricksError.DatabricksError({
  context: "user",
  reason: new DatabricksError.PermissionDeniedError({ message: "alice may not read secret_table" })
})

const runs: Array<string> = []
const counted = <A, E>(name: string, stream: Stream.Stream<A, E>) =>
  Stream.suspend(() => {
    runs.push(name)
    return stream
  })
const slow = Effect.runSync(Queue.unbounded<number, Cause.Done>())

const types = [{ type: "row" }, { type: "a\nb\0c" }, { type: "x".repeat(101) }, { type: 7 }, {}, [1], "text", null]

const Shop = Routes.layer(
  "shop",
  [ResumableStreams.ResumableStreams],
  [
    Routes.asUser("POST", "/types", Events.respond("shop", Stream.fromIterable<unknown>(types))),
    Routes.asUser("POST", "/named", Events.respond("shop", Stream.make({ type: "row" }), { event: () => "mine" })),
    Routes.asUser("POST", "/denied", Events.respond("shop", Stream.concat(Stream.make(1), Stream.fail(denied)))),
    Routes.asUser("POST", "/dies", Events.respond("shop", Stream.die(new Error("secret_table")))),
    Routes.asUser(
      "POST",
      "/closed",
      Events.respond("shop", Stream.fail(Failure.refusal(503, "The shop is closed", "SHOP_CLOSED")))
    ),
    Routes.asUser(
      "POST",
      "/large",
      Events.respond(
        "shop",
        Stream.map(Stream.make(4_000_000, 5_000_000), (size) => "x".repeat(size))
      )
    ),
    Routes.asUser(
      "POST",
      "/cut",
      Events.respond("shop", counted("cut", Stream.concat(Stream.make(1, 2), Stream.fail(denied))), {
        failure: "cut",
        resume: {}
      })
    ),
    Routes.asUser(
      "POST",
      "/slow",
      Events.respond("shop", counted("slow", Stream.fromQueue(slow)), { failure: "cut", resume: {} })
    ),
    Routes.asUser("POST", "/asked", Events.respond("shop", Stream.make(1), { resume: { requestId: "7" } })),
    Routes.asUser(
      "POST",
      "/opened",
      Events.respond("shop", Stream.make(1), { resume: { requestId: "7", opening: true } })
    )
  ]
)

const ask = Effect.fnUntraced(function* (path: string, lastId?: string) {
  const { port } = yield* Served
  return yield* post(port, `/api/shop${path}`, { headers: yield* requestOf(alice), body: "{}", lastId })
})

/** Reads as `connectSSE` does: after a cut or an error status it asks again, after its last id, three times at most. */
const read = Effect.fnUntraced(function* (
  path: string,
  onOpen: (client: Opened) => Effect.Effect<unknown> = () => Effect.void
) {
  const data: Array<string> = []
  const errors: Array<string | number> = []
  let lastId: string | undefined
  let text = ""
  while (errors.length < 4) {
    const client = yield* ask(path, lastId)
    if (client.status !== 200) {
      errors.push(client.status)
      continue
    }
    yield* onOpen(client)
    const end = yield* client.end
    data.push(...client.data())
    text += client.text()
    lastId = client.lastId() ?? lastId
    if (end === "ended") break
    errors.push(end)
  }
  return { data, errors, text }
})

const parsed = (data: ReadonlyArray<string>) => data.map((text) => JSON.parse(text))

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })("Events of a plugin", (it) => {
  it.layer(serve(Shop, { services: ResumableStreams.layer }))("respond", (it) => {
    it.effect("names an event after the type of its data, without line breaks and in 100 characters", () =>
      Effect.gen(function* () {
        const { data, errors, text } = yield* read("/types")
        assert.deepStrictEqual([errors, parsed(data)], [[], types])
        const names = (text: string) => [...text.matchAll(/^event: (.*)$/gm)].map(([, name]) => name)
        const message = "message"
        assert.deepStrictEqual(names(text), [
          "row",
          "abc",
          "x".repeat(100),
          message,
          message,
          message,
          message,
          message
        ])
        assert.deepStrictEqual(names((yield* read("/named")).text), ["mine"])
      })
    )

    it.effect("ends a stream that fails with an event whose data hooks show, without the workspace's sentences", () =>
      Effect.gen(function* () {
        const refused = yield* read("/denied")
        assert.deepStrictEqual(
          [refused.errors, parsed(refused.data)],
          [
            [],
            [
              1,
              {
                type: "error",
                error: "You do not have the permission for this",
                code: "STREAM_FORBIDDEN",
                plugin: "shop"
              }
            ]
          ]
        )
        assert.match(refused.text, /^event: error$/m)
        assert.deepStrictEqual(parsed((yield* read("/closed")).data), [
          {
            type: "error",
            error: "The shop is closed",
            code: "TEMPORARY_UNAVAILABLE",
            errorCode: "SHOP_CLOSED",
            plugin: "shop"
          }
        ])
        const died = yield* read("/dies")
        assert.deepStrictEqual(parsed(died.data), [
          {
            type: "error",
            error: "The server could not answer this request",
            code: "INTERNAL_ERROR",
            plugin: "shop"
          }
        ])
        assert.notInclude(refused.text + died.text, "secret_table")
      })
    )

    it.effect("sends an event of 4 MB, and ends a stream with an error event at one of 5 MB", () =>
      Effect.gen(function* () {
        const { data, errors } = yield* read("/large")
        const [large, error] = parsed(data)
        assert.deepStrictEqual([errors, data.length, large.length], [[], 2, 4_000_000])
        assert.deepStrictEqual(error, {
          type: "error",
          error: "An event of 5000031 bytes exceeds maxEventSize, 4194304 bytes",
          code: "INVALID_REQUEST",
          plugin: "shop"
        })
      })
    )

    it.effect("cuts the connection of a stream that fails with `cut`, at each retry, and runs and logs it once", () =>
      Effect.gen(function* () {
        const { logs } = yield* Served
        const before = logs.length
        const { data, errors, text } = yield* read("/cut")
        assert.deepStrictEqual(
          [data, errors],
          [
            ["1", "2"],
            ["cut", "cut", "cut", "cut"]
          ]
        )
        assert.notMatch(text, /error|secret_table/)
        assert.deepStrictEqual(
          runs.filter((name) => name === "cut"),
          ["cut"]
        )
        const errorLogs = logs.slice(before).filter(({ level }) => level === "Error")
        assert.lengthOf(errorLogs, 1)
        assert.include(errorLogs[0]!.text, "secret_table")
      })
    )

    it.effect("continues a stream that is cut before its first event, and in its middle, without a second run", () =>
      Effect.gen(function* () {
        let connections = 0
        const { data, errors } = yield* read("/slow", (client) =>
          Effect.gen(function* () {
            connections++
            if (connections === 1) {
              yield* eventually(client.lastId, (id) => id !== undefined)
              yield* client.cut
            } else if (connections === 2) {
              yield* Queue.offerAll(slow, [1, 2])
              yield* client.receives(2)
              yield* client.cut
            } else {
              yield* Queue.offer(slow, 3)
              yield* Queue.end(slow)
            }
          })
        )
        assert.deepStrictEqual(
          [data, errors],
          [
            ["1", "2", "3"],
            ["cut", "cut"]
          ]
        )
        assert.deepStrictEqual(
          runs.filter((name) => name === "slow"),
          ["slow"]
        )
      })
    )

    it.effect("begins with an event without data, unless the client has given its question an id", () =>
      Effect.gen(function* () {
        for (const [path, opens] of [
          ["/asked", false],
          ["/opened", true]
        ] as const) {
          const { data, text } = yield* read(path)
          assert.deepStrictEqual([data, /^id: \S{16}\.0\nevent: opening\ndata: $/m.test(text)], [["1"], opens])
        }
      })
    )
  })
})
