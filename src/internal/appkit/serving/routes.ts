/** The routes of model serving: alias → endpoint → body → response or chunks, as the user. */
import { Channel, Deferred, Effect, Fiber, Schema, Scope, Stream } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Endpoint, Options } from "../../../appkit/Serving.ts"
import * as HttpFailure from "../../../http/HttpFailure.ts"
import * as ModelServing from "../../../ModelServing.ts"
import * as Events from "../events.ts"
import * as Failure from "../failure.ts"
import * as Json from "../json.ts"
import * as Routes from "../routes.ts"

const unnamed = "default"

/** The endpoints by alias. */
export const endpointsOf = ({ default: main, endpoints = {} }: Options): ReadonlyMap<string, Endpoint> =>
  new Map(
    Object.entries({ ...endpoints, ...(main !== undefined && { [unnamed]: main }) }).map(([alias, endpoint]) => [
      alias,
      typeof endpoint === "string" ? { endpoint } : endpoint
    ])
  )

export const make = (endpoints: ReadonlyMap<string, Endpoint>) => {
  const asked = Effect.gen(function* () {
    const { alias = unnamed } = yield* HttpRouter.params
    const definition = endpoints.get(alias)
    if (definition === undefined) {
      return yield* Effect.fail(
        Failure.refusal(404, `No serving endpoint configured with alias "${alias}"`, "NotFound")
      )
    }
    const { plain, sent } = yield* Json.body((text) => ({
      sent: Json.verbatim(text),
      plain: JSON.parse(text) as unknown
    }))
    const { stream, ...checked } = yield* decode(Body, plain)
    yield* decode(definition.request ?? Body, checked)
    const { stream: _, ...body } = sent as typeof Body.Type // the text of `plain`, with other numbers
    const { endpoint } = yield* ModelServing.user
    return { body, definition, endpoint: endpoint(definition.endpoint, definition), isStream: stream === true }
  })

  const invoke = Effect.gen(function* () {
    const { body, definition, endpoint, isStream } = yield* asked
    if (isStream) return yield* Effect.fail(Failure.refusal(400, 'stream: send it to "stream" in place of "invoke"'))
    const { timeout } = definition
    const text = yield* endpoint.invoke(ModelServing.JsonText, { timeout })(body)
    return HttpServerResponse.text(text, { contentType: "application/json" })
  })

  const stream = Effect.gen(function* () {
    const { body, definition, endpoint } = yield* asked
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const { idleTimeout, timeout } = definition
    // A request that continues a stream starts none.
    const chunks =
      headers["last-event-id"] === undefined
        ? yield* accepted((onStart) => endpoint.stream(ModelServing.JsonText, { timeout, idleTimeout, onStart })(body))
        : Stream.die(new Error("A stream is continued that was never started"))
    return yield* Events.respond("serving", chunks, { json: oneLine, event: nameOf, failure: "cut", resume: {} })
  })

  return [
    Routes.asUser("POST", "/invoke", invoke),
    Routes.asUser("POST", "/:alias/invoke", invoke),
    Routes.asUser("POST", "/stream", stream),
    Routes.asUser("POST", "/:alias/stream", stream)
  ]
}

/** A chunk as it came. Only between its tokens may JSON have line breaks. */
const oneLine = (json: string) => (/[\r\n]/.test(json) ? json.replaceAll(/[\r\n]/g, " ") : json)

const nameOf = (json: string) => Events.typeOf(json.includes('"type"') ? JSON.parse(json) : undefined)

/** Waits until the model has accepted the request, or fails as it does, and returns the stream of its chunks. */
const accepted = Effect.fnUntraced(function* <A, E>(make: (onStart: Effect.Effect<unknown>) => Stream.Stream<A, E>) {
  const scope = yield* Scope.make()
  const started = yield* Deferred.make<void, E>()
  let isRead = false
  // The stream outlives the request only if its response has begun.
  yield* Effect.addFinalizer((exit) => (isRead ? Effect.void : Scope.close(scope, exit)))
  const chunks = Stream.tapCause(make(Deferred.succeed(started, undefined)), (cause) =>
    Deferred.failCause(started, cause)
  )
  const pull = yield* Channel.toPullScoped(Stream.toChannel(chunks), scope)
  const first = yield* Effect.forkIn(pull, scope)
  yield* Deferred.await(started)
  let next = Fiber.join(first)
  const rest = Effect.suspend(() => {
    const now = next
    next = pull
    return now
  })
  return Stream.suspend(() => {
    isRead = true
    return Stream.onExit(Stream.fromPull(Effect.succeed(rest)), (exit) => Scope.close(scope, exit))
  })
})

const Body = Schema.Record(Schema.String, Schema.Unknown)

// A field that is ignored would change the answer of the model without a word.
const decode = <S extends Schema.ConstraintDecoder<unknown>>(schema: S, body: unknown) =>
  HttpFailure.orBadRequest(Schema.decodeUnknownEffect(schema, { onExcessProperty: "error" })(body))
