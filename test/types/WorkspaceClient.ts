/** What the types of WorkspaceClient promise. */
import type { DatabricksError, Operation, WorkspaceClient } from "effect-databricks"
import { type Effect, Schema } from "effect"
import type { HttpClientRequest, HttpClientResponse } from "effect/http"
import { typeOf } from "./is.ts"

declare const client: WorkspaceClient.WorkspaceClient["Service"]
declare const request: HttpClientRequest.HttpClientRequest

type Failure = DatabricksError.DatabricksError
type Timed = Failure | Operation.OperationTimeoutError
type Response = HttpClientResponse.HttpClientResponse

// A timeout adds its error, nothing else does.
typeOf(client.request(request)).is<Effect.Effect<Response, Failure>>()
typeOf(client.request(request, { retry: {} })).is<Effect.Effect<Response, Failure>>()
typeOf(client.request(request, { timeout: 1 })).is<Effect.Effect<Response, Timed>>()
typeOf(client.requestJson(request, Schema.Int)).is<Effect.Effect<number, Failure>>()
typeOf(client.requestJson(request, Schema.Int, { totalTimeout: "1 second" })).is<Effect.Effect<number, Timed>>()
typeOf(client.use(async () => 1)).is<Effect.Effect<number, Failure>>()
typeOf(client.use(async () => 1, { timeout: undefined })).is<Effect.Effect<number, Failure>>()
typeOf(client.use(async () => 1, {} as Operation.Policy)).is<Effect.Effect<number, Timed>>()
