/** One serving endpoint: encode the body → send → decode the response or its chunks. */
import { Effect, Schema, Stream } from "effect"
import { HttpBody, HttpClientRequest } from "effect/http"
import { type DatabricksError, InvalidRequestError, make as databricksError } from "../../DatabricksError.ts"
import type { Endpoint, EndpointNotReadyError, Options, State, Target } from "../../ModelServing.ts"
import type * as Operation from "../../Operation.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { retrying } from "../operation/retries.ts"
import { absent } from "../workspace/absent.ts"
import * as ExactJson from "../workspace/exactJson.ts"
import * as Operations from "../workspace/operations.ts"
import { path } from "../workspace/path.ts"
import { longer, pause } from "../workspace/pause.ts"
import * as Retry from "../workspace/retry.ts"
import * as Transport from "../workspace/transport.ts"
import * as Chunks from "./chunks.ts"
import * as Json from "./json.ts"

export interface Made {
  readonly service: ServiceContext["Service"]
  readonly client: WorkspaceClient["Service"]
  readonly name: string
  readonly target: Target | undefined
  readonly broken: Chunks.Broken
  readonly notReady: (
    fields: Pick<EndpointNotReadyError, "message" | "endpoint" | "configUpdate">
  ) => EndpointNotReadyError
}

/** Makes an endpoint whose calls run as the caller of the fiber. */
export const make = ({ broken, client, name, notReady, service, target }: Made): Endpoint => {
  const servedModel = target?.servedModel
  const invocations =
    servedModel === undefined
      ? path`/serving-endpoints/${name}/invocations`
      : path`/serving-endpoints/${name}/served-models/${servedModel}/invocations`
  const attributes = { "serving.endpoint": name, "serving.served_model": servedModel }

  const send = (body: object, headers: Readonly<Record<string, string>>, { retry }: Options) =>
    Effect.flatMap(encoded(name, body), (json) => {
      const request = HttpClientRequest.post(invocations, { body: json, headers })
      // A model may have run for a request whose connection was lost, so that is not sent again.
      return retrying(client.send(request), retry, Retry.neverRan)
    })

  const read = Effect.map(
    Effect.flatMap(client.send(HttpClientRequest.get(path`/api/2.0/serving-endpoints/${name}`)), decodeState),
    stateOf
  )

  const untilReady = Effect.gen(function* () {
    for (let delay = longer(0); ; delay = longer(delay)) {
      const { configUpdate, isReady } = yield* Retry.polled(read)
      if (isReady) return
      if (configUpdate === "UPDATE_FAILED" || configUpdate === "UPDATE_CANCELED") {
        const why = configUpdate === "UPDATE_FAILED" ? "failed" : "was canceled"
        const message = `The serving endpoint "${name}" is not ready, and its last update ${why}: see its page in the workspace`
        return yield* Effect.fail(notReady({ message, endpoint: name, configUpdate }))
      }
      yield* pause(delay)
    }
  })

  const operations = Operations.make(service)

  return {
    name,
    invoke: <S extends Schema.Constraint, const O extends Options = {}>(schema: S, options?: O) => {
      const decode = Json.response(schema)
      const { timeout, ...rest }: Options = options ?? {}
      return (body: object) =>
        operations.call(
          "serving.invoke",
          attributes,
          { timeout },
          Effect.flatMap(
            isStream(body) ? Effect.fail(notStreamed(name)) : send(body, { accept: "application/json" }, rest),
            decode
          )
          // The compiler cannot see that options without a timeout cause no timeout error.
        ) as Effect.Effect<S["Type"], DatabricksError | Operation.TimeoutOf<O>, S["DecodingServices"]>
    },
    stream: (schema, options = {}) => {
      const chunks = Chunks.make(schema, name, broken, options.onStart)
      return (body) =>
        operations.stream(
          "serving.stream",
          attributes,
          Stream.unwrap(
            Effect.map(send({ ...body, stream: true }, { accept: "text/event-stream" }, options), chunks)
          ).pipe(Chunks.limited(name, options))
        )
    },
    state: operations.call("serving.state", attributes, {}, read),
    ready: ({ timeout = "10 minutes" } = {}) => operations.call("serving.ready", attributes, { timeout }, untilReady)
  }
}

const maxBody = 16 * 1024 * 1024

const refused = (message: string) => databricksError(new InvalidRequestError({ message }))

const isStream = (body: object) => "stream" in body && body.stream === true

const notStreamed = (name: string) =>
  refused(
    `The body for the serving endpoint "${name}" has "stream": true: call the endpoint's stream in place of invoke`
  )

const encoded = (name: string, body: object): Effect.Effect<HttpBody.HttpBody, DatabricksError> =>
  Effect.suspend(() => {
    const wrong: Array<string> = []
    const text = ExactJson.stringify(body, (field, value) => {
      if (!Number.isFinite(value)) wrong.push(`"${field}" is ${String(value)}, which JSON cannot represent`)
      return value
    })
    const size = Buffer.byteLength(text)
    if (size > maxBody) wrong.push(`it has ${size} bytes, and at most ${maxBody} are allowed: send it in parts`)
    return wrong.length === 0
      ? Effect.succeed(HttpBody.text(text, "application/json"))
      : Effect.fail(refused(`The body for the serving endpoint "${name}" was not sent: ${wrong[0]}`))
  })

const Found = Schema.Struct({
  state: Schema.Struct({ ready: Schema.String, config_update: absent(Schema.String) }),
  task: absent(Schema.String),
  config: absent(
    Schema.Struct({ served_entities: absent(Schema.Array(Schema.Struct({ name: absent(Schema.String) }))) })
  )
})

const decodeState = Transport.patientJson(Found)

const stateOf = ({ config, state, task }: typeof Found.Type): State => ({
  isReady: state.ready === "READY",
  configUpdate: state.config_update ?? undefined,
  task: task ?? undefined,
  servedModels: (config?.served_entities ?? []).flatMap(({ name }) => name ?? [])
})
