/** A stream that is kept requires its service and the request. Any other requires neither. */
import type { ResumableStreams, ServiceContext } from "effect-databricks"
import { type ResumeError, ServerSentEvents, type UserContext } from "effect-databricks"
import { type Effect, Schema, Stream } from "effect"
import type { HttpServerRequest, HttpServerResponse } from "effect/http"
import * as Events from "../../src/internal/appkit/events.ts"
import { typeOf } from "./is.ts"

declare const stream: Stream.Stream<number, "refused", UserContext>
declare const after: (id: string) => Stream.Stream<number, "gone", Database>
interface Database {
  readonly _: unique symbol
}

type Response = HttpServerResponse.HttpServerResponse
type Plain = Effect.Effect<Response, never, UserContext | ServiceContext.ServiceContext>
type Kept<R = never> = Effect.Effect<
  Response,
  ResumeError.StreamGoneError | ResumeError.TooManyStreamsError,
  | R
  | UserContext
  | ServiceContext.ServiceContext
  | ResumableStreams.ResumableStreams
  | HttpServerRequest.HttpServerRequest
>

typeOf(ServerSentEvents.toResponse(stream)).is<Plain>()
typeOf(stream.pipe(ServerSentEvents.toResponse())).is<Plain>()
typeOf(ServerSentEvents.toResponse(stream, { schema: Schema.Number, failure: "cut" })).is<Plain>()
typeOf(ServerSentEvents.toResponse(stream, { resume: undefined })).is<Plain>()

typeOf(ServerSentEvents.toResponse(stream, { resume: {} })).is<Kept>()
typeOf(stream.pipe(ServerSentEvents.toResponse({ resume: { requestId: "7" } }))).is<Kept>()
// What `after` requires is added.
typeOf(ServerSentEvents.toResponse(stream, { resume: { after } })).is<Kept<Database>>()

typeOf(Events.respond("genie", stream)).is<Plain>()
typeOf(Events.respond("genie", stream, { failure: "cut" })).is<Plain>()
typeOf(Events.respond("genie", stream, { resume: { after } })).is<Kept<Database>>()

// @ts-expect-error -- `after` continues with elements of the same type
ServerSentEvents.toResponse(stream, { resume: { after: () => Stream.make("text") } })
// @ts-expect-error -- an opening is one of three
ServerSentEvents.toResponse(stream, { resume: { opening: true } })
