/** What the types of ExecutionContext promise. */
import type { ServiceContext, UserContext } from "effect-databricks"
import {
  asService,
  asUser,
  type DatabricksError,
  type ForwardedHeaders,
  getCurrentUserId,
  getWarehouseId,
  getWorkspaceClient,
  getWorkspaceId,
  type IdentityError,
  type IdentityVerifier,
  isInUserContext,
  provideUser,
  type WorkspaceClient
} from "effect-databricks"
import { Context, Effect, type Layer, Stream } from "effect"
import type { HttpServerRequest } from "effect/http"
import type { IncomingMessage } from "node:http"
import { typeOf } from "./is.ts"

class Database extends Context.Service<Database, { readonly rows: Effect.Effect<number> }>()("test/Database") {}

declare const orders: Effect.Effect<number, "sold out", UserContext | Database | ServiceContext.ServiceContext>
declare const stream: Stream.Stream<number, "sold out", UserContext | Database>
declare const request: HttpServerRequest.HttpServerRequest
declare const node: IncomingMessage
declare const headers: ForwardedHeaders.WithToken
declare const verifier: IdentityVerifier.IdentityVerifier
declare const service: Layer.Layer<ServiceContext.ServiceContext>
declare const database: Layer.Layer<Database>

type IdentityErrors =
  | IdentityError.AuthenticationError
  | IdentityError.IdentityMismatchError
  | IdentityError.IdentityUnavailableError

// asUser provides exactly UserContext, needs exactly ServiceContext, and fails with exactly three errors.
typeOf(asUser(request)).is<Layer.Layer<UserContext, IdentityErrors, ServiceContext.ServiceContext>>()

// It takes UserContext away and nothing else.
type Remaining = Database | ServiceContext.ServiceContext
typeOf(Effect.provide(orders, asUser(request))).is<Effect.Effect<number, "sold out" | IdentityErrors, Remaining>>()
typeOf(provideUser(orders, request)).is<Effect.Effect<number, "sold out" | IdentityErrors, Remaining>>()
typeOf(orders.pipe(provideUser(request))).is<Effect.Effect<number, "sold out" | IdentityErrors, Remaining>>()
typeOf(Stream.provide(stream, asUser(request))).is<Stream.Stream<number, "sold out" | IdentityErrors, Remaining>>()

// What a user must run does not compile without one.
const live = orders.pipe(Effect.provide(asUser(request)), Effect.provide([service, database]))
void Effect.runPromise(live)
// @ts-expect-error -- nothing provides UserContext
void Effect.runPromise(orders.pipe(Effect.provide([service, database])))
// @ts-expect-error -- asService is not a user
void Effect.runPromise(asService(orders).pipe(Effect.provide([service, database])))
// @ts-expect-error -- nor is there a user to prove without the service context
void Effect.runPromise(orders.pipe(Effect.provide(asUser(request)), Effect.provide(database)))
// @ts-expect-error -- a stream neither
void Effect.runPromise(Stream.runDrain(stream).pipe(Effect.provide(database)))

// asService takes no requirement away.
typeOf(asService(orders)).is<
  Effect.Effect<number, "sold out", UserContext | Database | ServiceContext.ServiceContext>
>()

// What a request looks like where people meet one.
asUser(node)
asUser(new Request("http://app"))
asUser({ headers: new Headers() })
asUser({ "x-forwarded-user": "alice" })
// @ts-expect-error -- not a request
asUser("alice")
// @ts-expect-error -- no request at all
asUser(undefined)

// What is verified was decoded: a copy would have no token.
verifier.verify(headers)
// @ts-expect-error -- a copy
verifier.verify({ ...headers })

// The helpers need the service context and no user.
typeOf(getCurrentUserId).is<Effect.Effect<string, never, ServiceContext.ServiceContext>>()
typeOf(getWorkspaceId).is<Effect.Effect<string, never, ServiceContext.ServiceContext>>()
typeOf(getWarehouseId).is<Effect.Effect<string, ServiceContext.ServiceContextError, ServiceContext.ServiceContext>>()
typeOf(isInUserContext).is<Effect.Effect<boolean, never, ServiceContext.ServiceContext>>()
typeOf(getWorkspaceClient).is<
  Effect.Effect<WorkspaceClient.WorkspaceClient["Service"], never, WorkspaceClient.WorkspaceClient>
>()

// A client needs nothing when it is called.
declare const client: WorkspaceClient.WorkspaceClient["Service"]
typeOf(client.use(async () => 1)).is<Effect.Effect<number, DatabricksError.DatabricksError>>()
