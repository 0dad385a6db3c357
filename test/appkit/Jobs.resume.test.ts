import { assert, layer } from "@effect/vitest"
import type { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import * as Workspace from "../fixtures/jobs.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { eventsOf, open } from "../fixtures/sse.ts"
import { Served } from "../http/harness.ts"
import { asked, served } from "./jobs.ts"

const { ids } = Workspace

interface Event {
  readonly id: string | undefined
  readonly data: any // oxlint-disable-line typescript/no-explicit-any -- JSON
}

/** Sends the request of a stream, as `connectSSE` does. */
const streamed = (
  gate: string,
  options: { readonly query?: string; readonly lastEventId?: string; readonly as?: string } = {}
) =>
  Effect.gen(function* () {
    const { port } = yield* Served
    const headers = yield* requestOf(options.as ?? alice)
    const client = yield* open(port, {
      method: "POST",
      path: `/api/jobs/gated/run?stream=true${options.query ?? ""}`,
      headers: {
        ...headers,
        "content-type": "application/json",
        ...(options.lastEventId !== undefined && { "last-event-id": options.lastEventId })
      },
      body: JSON.stringify({ params: { gate } })
    })
    if (options.lastEventId === undefined && options.query === undefined) assert.strictEqual(client.status, 200)
    return client
  })

const countOf = Effect.map(Workspace.runsOf(ids.gated), (runs) => runs.length)

/** The states of events, and the ids of their runs. */
const shape = (events: ReadonlyArray<Event>) => ({
  statuses: events.map(({ data }) => data.status),
  runs: new Set(events.flatMap(({ data }) => data.run.run_id ?? []))
})

layer(Workspace.Live, { excludeTestServices: true })("A stream of appkit/Jobs.layer", (it) => {
  it.effect("begins with an event without a run id, and ends after the state that ends the run", () =>
    served(
      Effect.gen(function* () {
        const client = yield* streamed("whole")
        yield* client.receives(`"status":"RUNNING"`)
        yield* Workspace.open("whole")
        const { end, events } = yield* client.end
        assert.strictEqual(end, "ended")
        const { runs, statuses } = shape(events)
        assert.strictEqual(statuses[0], "PENDING")
        assert.strictEqual(statuses.at(-1), "TERMINATED")
        assert.strictEqual(runs.size, 1)
        assert.isUndefined((events[0] as Event).data.run.run_id)
        for (const { data, id } of events as ReadonlyArray<Event>) {
          assert.isNumber(data.timestamp)
          assert.isString(id)
          assert.notProperty(data, "id")
        }
      })
    )
  )

  it.effect("goes on after each of its events with the same run in another process, and repeats no event", () =>
    Effect.gen(function* () {
      const before = yield* countOf
      // Each `served` is a replica of its own, which knows nothing of the others.
      const whole = yield* served(
        Effect.gen(function* () {
          const client = yield* streamed("cut")
          yield* client.receives(`"status":"RUNNING"`)
          yield* client.leave
          return eventsOf(client.received()) as ReadonlyArray<Event>
        })
      )
      yield* Workspace.open("cut")
      for (const [position, { id }] of whole.entries()) {
        const { end, events } = yield* served(Effect.flatMap(streamed("cut", { lastEventId: id! }), (_) => _.end))
        assert.strictEqual(end, "ended")
        const { runs, statuses } = shape(events)
        assert.strictEqual(statuses.at(-1), "TERMINATED", `after event ${position}`)
        assert.isFalse(events.some((event) => event.id === id))
        assert.strictEqual(runs.size, 1)
        // After the last event nothing is left, and the end is still a proper one.
        const over = yield* served(Effect.flatMap(streamed("cut", { lastEventId: events.at(-1)!.id! }), (_) => _.end))
        assert.deepStrictEqual([over.end, over.events], ["ended", []])
      }
      assert.strictEqual((yield* countOf) - before, 1)
    })
  )

  it.effect("goes on to the end of the run when its client has left", () =>
    served(
      Effect.gen(function* () {
        const sent = yield* Workspace.recording
        const client = yield* streamed("left")
        yield* client.receives(`"status":"RUNNING"`)
        yield* client.leave
        yield* Workspace.open("left")
        const [run] = yield* Workspace.runsOf(ids.gated)
        const { events } = yield* Effect.flatMap(
          streamed("left", { lastEventId: eventsOf(client.received()).at(-1)!.id! }),
          (_) => _.end
        )
        assert.deepInclude((events.at(-1) as Event).data.run, { run_id: run!.runId })
        assert.strictEqual((events.at(-1) as Event).data.run.state.result_state, "SUCCESS")
        assert.lengthOf(yield* sent(Workspace.cancel), 0)
      })
    )
  )

  it.effect("starts one run for repeated requests with one requestId, streams or not, in any process", () =>
    Effect.gen(function* () {
      const before = yield* countOf
      yield* Workspace.open("repeated")
      const body = { params: { gate: "repeated" } }
      const found = new Set<string>()
      for (let replica = 0; replica < 2; replica++) {
        yield* served(
          Effect.gen(function* () {
            const plain = yield* asked("POST", "/gated/run?requestId=question-1", { as: alice, body })
            const header = { "idempotency-key": "question-1" }
            const keyed = yield* asked("POST", "/gated/run", { as: alice, body, headers: header })
            const client = yield* streamed("repeated", { query: "&requestId=question-1" })
            const { events } = yield* client.end
            for (const id of [plain.json.runId, keyed.json.runId, ...shape(events).runs]) found.add(id)
            const rest = yield* Effect.flatMap(
              streamed("repeated", { query: "&requestId=question-1", lastEventId: events.at(-1)!.id! }),
              (_) => _.end
            )
            assert.deepStrictEqual(rest.events, [])
          })
        )
      }
      assert.strictEqual(found.size, 1)
      assert.strictEqual((yield* countOf) - before, 1)
    })
  )

  it.effect("shares no run between users or jobs that use the same requestId", () =>
    served(
      Effect.gen(function* () {
        const sent = yield* Workspace.recording
        const runs = new Set<string>()
        for (const [job, as] of [
          ["echo", alice],
          ["echo", bob],
          ["unused", alice]
        ] as const) {
          runs.add((yield* asked("POST", `/${job}/run?requestId=same`, { as })).json.runId)
        }
        assert.strictEqual(runs.size, 3)
        const tokens = (yield* sent(Workspace.run)).map(({ body }) => JSON.parse(body!).idempotency_token as string)
        assert.strictEqual(new Set(tokens).size, 3)
        for (const token of tokens) assert.match(token, /^[\da-f]{64}$/)
      })
    )
  )

  it.effect("shares no run between people without a token, whom only the proxy names", () =>
    served(
      Effect.gen(function* () {
        const started = (user: string) =>
          Effect.map(
            asked("POST", "/echo/run?requestId=same", { headers: { "x-forwarded-user": user } }),
            ({ json }) => json.runId as string
          )
        const hers = yield* started("alice")
        assert.notStrictEqual(yield* started("bob"), hers)
        assert.strictEqual(yield* started("alice"), hers)
      })
    )
  )

  it.effect("leads nobody to another user's run with the id of its event", () =>
    served(
      Effect.gen(function* () {
        yield* Workspace.open("mine")
        const { events } = yield* Effect.flatMap(streamed("mine"), (_) => _.end)
        const theirs = yield* Effect.flatMap(streamed("mine", { as: bob, lastEventId: events[0]!.id! }), (_) => _.end)
        const [mine] = shape(events).runs
        assert.notInclude([...shape(theirs.events).runs], mine)
      })
    )
  )

  it.effect("refuses a Last-Event-ID of another stream, an empty and a repeated requestId, and starts nothing", () =>
    served(
      Effect.gen(function* () {
        const sent = yield* Workspace.recording
        for (const lastEventId of ["1", "requested.AAAAAAAAAAAA", "12345.AAAAAAAAAAAA", "x"]) {
          assert.strictEqual((yield* streamed("none", { lastEventId })).status, 400, lastEventId)
        }
        for (const query of ["&requestId=", "&requestId=a&requestId=b", `&requestId=${"a".repeat(257)}`]) {
          assert.strictEqual((yield* streamed("none", { query })).status, 400, query)
        }
        assert.lengthOf(yield* sent(Workspace.run), 0)
      })
    )
  )

  it.effect("tells a failure after its beginning as an event, without the workspace's own words", () =>
    served(
      Effect.gen(function* () {
        yield* Workspace.misbehave({
          kind: "answer",
          status: 400,
          path: Workspace.run,
          body: JSON.stringify({ error_code: "INVALID_PARAMETER_VALUE", message: "the cluster of sp-1234 is wrong" })
        } satisfies LocalWorkspace.Fault)
        const { events, received } = yield* Effect.flatMap(streamed("failing"), (_) => _.end)
        const { data } = events.at(-1) as Event
        assert.deepInclude(data, { type: "error", error: "Databricks refused this request" })
        assert.notInclude(received, "sp-1234")
      })
    )
  )
})
