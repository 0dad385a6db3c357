/** The routes to Genie, the model, the job and the files. */
import {
  ChatCompletion,
  Files,
  FileTransfer,
  Genie,
  GenieMessage,
  Jobs,
  Middleware,
  ModelServing,
  Operation,
  ServerSentEvents,
  UserContext
} from "effect-databricks"
import { Effect, Layer, Schema, Stream } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { Api, heartbeat, homeOf, jobId, model, Orders, spaceId, Text, timeout } from "./Api.ts"

/** The rows of Genie's answer, which has one query with one row. */
const Answer = Schema.Struct({
  caller: Schema.String,
  total: Schema.Int,
  last: Schema.fromJsonString(Orders.fields.last)
})

const job = Jobs.job({ id: jobId, parameters: Schema.Struct({ key: Schema.String, owner: Schema.String }) })

export const handlers = HttpApiBuilder.group(Api, "services", (handlers) =>
  handlers
    .handle("question", ({ payload: { key, manner } }) =>
      Effect.gen(function* () {
        const genie = yield* Genie.user
        const message = yield* genie.answer(spaceId, `${key} ${manner}`)
        const { rows } = yield* genie.rows(GenieMessage.queriesOf(message)[0]!)(Answer)
        return rows[0]!
      }).pipe(Operation.execute({ name: "questions.ask", totalTimeout: timeout }))
    )
    .handle("watchQuestion", ({ payload: { key, manner } }) =>
      Effect.flatMap(Genie.user, (genie) =>
        // A question without an end is watched until its client leaves.
        genie
          .ask(spaceId, `${key} ${manner}`, { totalTimeout: "1 minute" })
          .pipe(ServerSentEvents.toResponse({ schema: GenieMessage.Event, heartbeat }))
      )
    )
    .handle("chat", ({ payload: { key, manner } }) =>
      Effect.flatMap(ModelServing.user, ({ endpoint }) =>
        endpoint(model)
          .stream(ChatCompletion.Chunk, { timeout: "3 seconds", idleTimeout: "2 seconds" })({
            messages: [{ role: "user", content: `${key} ${manner}` }]
          })
          .pipe(
            Stream.map(({ choices }) => ({ text: choices.map(({ delta }) => ChatCompletion.textOf(delta)).join("") })),
            ServerSentEvents.toResponse({ schema: Text, heartbeat })
          )
      )
    )
    .handle("run", ({ payload: { key } }) =>
      Effect.gen(function* () {
        const { id, userName: caller } = yield* UserContext
        const jobs = yield* Jobs.asService
        const order = job.with({ key, owner: caller })
        return { caller, runId: yield* jobs.run(order, { key: `${id}/${key}`, totalTimeout: timeout }) }
      })
    )
)

const placeOf = Effect.map(HttpRouter.params, ({ name = "", owner = "" }) => `${homeOf(owner)}/${name}`)

const download = Effect.gen(function* () {
  return yield* FileTransfer.download(yield* Files.user, yield* placeOf, {
    timeout: "2 seconds",
    idleTimeout: "2 seconds"
  })
})

const upload = (overwrite: boolean) =>
  Effect.gen(function* () {
    yield* FileTransfer.upload(yield* Files.user, yield* placeOf, { overwrite, totalTimeout: timeout })
    return HttpServerResponse.empty({ status: 201 })
  })

export const files = Layer.mergeAll(
  HttpRouter.add("GET", "/files/:owner/:name", download),
  HttpRouter.add("POST", "/files/:owner/:name", upload(false)),
  HttpRouter.add("PUT", "/files/:owner/:name", upload(true))
).pipe(Layer.provide(Middleware.asUser.layer))
