/** The routes of serving endpoints. */
import { Effect } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Endpoint, State } from "../../LocalServing.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated } from "../http/requests.ts"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import { type Refusal, responseTo } from "./answers.ts"

export interface Options {
  readonly directory: Directory
  readonly endpoints: Readonly<Record<string, Endpoint>>
}

const parameter = (name: string) => Effect.map(HttpRouter.params, (params) => params[name])

const servedModelsOf = ({ options }: Endpoint) => options.servedModels ?? ["model-1"]

const mayQuery = ({ options: { users } }: Endpoint, { userName }: Principal) => users?.includes(userName) ?? true

const refused = ({ errorCode, message, retryAfter, status }: Refusal) =>
  new Replies.Refused({
    response: HttpServerResponse.jsonUnsafe(
      { error_code: errorCode ?? (status === 429 ? "REQUEST_LIMIT_EXCEEDED" : "BAD_REQUEST"), message },
      { status, ...(retryAfter !== undefined && { headers: { "retry-after": String(retryAfter) } }) }
    )
  })

export const addTo = (router: HttpRouter.HttpRouter, { directory, endpoints }: Options) =>
  Effect.gen(function* () {
    const add = adder(router)
    const known = new Map(Object.entries(endpoints))
    const told = new Map<string, number>()
    const guarded = <E, R>(handle: (caller: Principal) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
      authenticated(directory)("model-serving", handle)

    const found = (caller: Principal) =>
      Effect.flatMap(parameter("name"), (name = "") => {
        const endpoint = known.get(name)
        if (endpoint === undefined) return Effect.fail(Replies.servingEndpointNotFound(name))
        return mayQuery(endpoint, caller)
          ? Effect.succeed({ name, endpoint })
          : Effect.fail(Replies.servingEndpointForbidden(name))
      })

    const stateAt = ({ options: { states = [{ ready: "READY" }] } }: Endpoint, at: number): State =>
      states[Math.min(at, states.length - 1)] ?? { ready: "READY" }

    const invoke = guarded((caller) =>
      Effect.gen(function* () {
        const { endpoint, name } = yield* found(caller)
        const servedModel = yield* parameter("model")
        if (servedModel !== undefined && !servedModelsOf(endpoint).includes(servedModel)) {
          return yield* Replies.servedModelNotFound(servedModel)
        }
        if (stateAt(endpoint, told.get(name) ?? 0).ready !== "READY")
          return yield* Replies.servingEndpointNotReady(name)
        const request = yield* HttpServerRequest.HttpServerRequest
        const notJson = () => Replies.malformed("Could not parse the request body as JSON.")
        const text = yield* Effect.mapError(request.text, notJson)
        const body = yield* Effect.try({ try: () => JSON.parse(text) as unknown, catch: notJson })
        return yield* endpoint.answer({ body, text, user: caller.userName, servedModel }).pipe(
          Effect.flatMap((answer) => responseTo(answer, endpoint.options.bytesPerWrite)),
          Effect.mapError(refused)
        )
      })
    )

    const view = (name: string, endpoint: Endpoint, { configUpdate = "NOT_UPDATING", ready }: State) => ({
      name,
      state: { ready, config_update: configUpdate },
      ...(endpoint.task !== undefined && { task: endpoint.task }),
      config: { served_entities: servedModelsOf(endpoint).map((model) => ({ name: model })) }
    })

    const get = guarded((caller) =>
      Effect.map(found(caller), ({ endpoint, name }) => {
        const at = told.get(name) ?? 0
        told.set(name, at + 1)
        return HttpServerResponse.jsonUnsafe(view(name, endpoint, stateAt(endpoint, at)))
      })
    )

    const list = guarded((caller) =>
      Effect.sync(() => {
        const visible = [...known].filter(([, endpoint]) => mayQuery(endpoint, caller))
        return HttpServerResponse.jsonUnsafe({
          endpoints: visible.map(([name, endpoint]) => view(name, endpoint, stateAt(endpoint, told.get(name) ?? 0)))
        })
      })
    )

    yield* add("POST", "/serving-endpoints/:name/invocations", invoke)
    yield* add("POST", "/serving-endpoints/:name/served-models/:model/invocations", invoke)
    yield* add("GET", "/api/2.0/serving-endpoints", list)
    yield* add("GET", "/api/2.0/serving-endpoints/:name", get)
  })
