/** Starts one run for a request, however often it is repeated, and streams it. No process keeps anything for this. */
import { Clock, Effect, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { createHash, randomUUID } from "node:crypto"
import * as HttpFailure from "../../../http/HttpFailure.ts"
import * as Jobs from "../../../Jobs.ts"
import * as Events from "../events.ts"
import * as Failure from "../failure.ts"
import * as Routes from "../routes.ts"
import * as Runs from "./run.ts"

/** Responds with the id of the run, or with its events. */
export const respond = Effect.fnUntraced(function* (key: string, order: Jobs.Order) {
  const jobs = yield* Jobs.asService
  const { headers, searchParams } = yield* HttpFailure.orBadRequest(HttpRouter.schemaNoBody(Asked))
  const sender = yield* Routes.sender
  const run = (token: string) =>
    jobs.run(order, {
      key: createHash("sha256")
        .update(JSON.stringify([sender, key, token]))
        .digest("hex")
    })

  const requestId = searchParams.requestId ?? headers["idempotency-key"]
  if (searchParams.stream !== "true") {
    return HttpServerResponse.jsonUnsafe({ runId: yield* run(requestId ?? randomUUID()) })
  }
  const last = headers["last-event-id"] === undefined ? undefined : yield* parse(headers["last-event-id"])
  const known = requestId ?? last?.token
  if (last !== undefined && known === undefined) return yield* foreign
  const token = known ?? randomUUID()
  const watch = (runId: string) => Stream.map(jobs.watch(runId), Runs.toJson)
  // The id of the first event leads a repeated request to this run, so the event is sent before the run starts.
  const runs: Stream.Stream<RunJson, unknown> =
    known === undefined
      ? Stream.concat(Stream.succeed(pending(order.jobId)), Stream.unwrap(Effect.map(run(token), watch)))
      : Stream.dropWhile(watch(yield* run(known)), (run) => digestOf(run) === last?.digest)
  return yield* Events.respond("jobs", Stream.mapEffect(runs, eventOf), {
    id: (event) => `${requestId === undefined ? token : requested}.${digestOf(event.run)}`
  })
})

const Text = Schema.NonEmptyString.check(Schema.isMaxLength(256))

const Asked = Schema.Struct({
  searchParams: Schema.Struct({
    stream: Schema.optional(Schema.String),
    requestId: Schema.optional(Text)
  }),
  headers: Schema.Struct({
    "idempotency-key": Schema.optional(Text),
    "last-event-id": Schema.optional(Schema.String)
  })
})

type RunJson = Omit<Partial<ReturnType<typeof Runs.toJson>>, "state"> & {
  readonly state: { readonly life_cycle_state: string }
}

/** A run that has no id yet. */
const pending = (jobId: string): RunJson => ({ job_id: jobId, state: { life_cycle_state: "PENDING" } })

const eventOf = (run: RunJson) =>
  Effect.map(Clock.currentTimeMillis, (timestamp) => ({ status: run.state.life_cycle_state, timestamp, run }))

/** Returns the state of a run and its tasks, short enough for the id of an event. */
const digestOf = ({ state, tasks }: RunJson): string =>
  createHash("sha256")
    .update(JSON.stringify([state, tasks?.map(({ run_id, state }) => [run_id, state])]))
    .digest("base64url")
    .slice(0, 12)

// In place of a token, in the events of a request with an id of its own.
const requested = "requested"

const parse = (id: string) => {
  const [, token, digest] = /^([\da-f-]{36}|requested)\.([\w-]{12})$/.exec(id) ?? []
  return token === undefined ? foreign : Effect.succeed({ token: token === requested ? undefined : token, digest })
}

const foreign = Effect.fail(
  Failure.refusal(400, "The Last-Event-ID is not one of this stream: repeat the request with its requestId")
)
