/** The routes of a plugin: their callers, their services and their failures. */
import { Context, Effect, type Schema } from "effect"
import { HttpRouter, HttpServerRequest, type HttpServerResponse } from "effect/http"
import type { Action, Policy } from "../../appkit/Policy.ts"
import * as Caller from "../../Caller.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import * as HttpFailure from "../../http/HttpFailure.ts"
import * as Middleware from "../../http/Middleware.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import { UserContext } from "../../UserContext.ts"
import * as Failure from "./failure.ts"

type Method = "GET" | "POST" | "DELETE"

type Handler<R> = Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, R>

/** The services that every handler has. */
type Given = ServiceContext | HttpRouter.Provided

/** A route of a plugin, with a path below `/api/<plugin>`. */
export interface Route<R> {
  readonly method: Method
  readonly path: `/${string}`
  /** `user`: as the sender, else a 401. `either`: as the sender if there is a token, else as the app. */
  readonly runsAs: "user" | "either"
  readonly handler: Handler<R | Given>
}

const routeAs =
  <Extra = never>(runsAs: Route<never>["runsAs"]) =>
  <R>(method: Method, path: `/${string}`, handler: Handler<R>): Route<Exclude<R, Given | Extra>> => ({
    method,
    path,
    runsAs,
    // The compiler does not see that the excluded services are given.
    handler: handler as Handler<Exclude<R, Given | Extra> | Given>
  })

/** Makes a route whose calls run as the user. */
export const asUser = routeAs<UserContext>("user")

/** Makes a route that decides itself. It runs as the user of the request, who is verified in any case, or as the app. */
export const asEither = routeAs("either")

// A key of any service: its shape is of no use here.
// oxlint-disable-next-line typescript/no-explicit-any
type AnyKey = Context.Key<any, any>

/** Adds routes whose handlers use these services. */
export const layer = <const Keys extends ReadonlyArray<AnyKey>>(
  plugin: string,
  services: Keys,
  routes: ReadonlyArray<Route<Keys[number]["Identifier"]>>
) =>
  HttpRouter.use((router) =>
    Effect.gen(function* () {
      const service = yield* ServiceContext
      // Only these: the rest of the start-up context would replace the span and the caller of a request.
      const own = Context.pick(...services)(yield* Effect.context<Keys[number]["Identifier"]>())
      for (const { handler, method, path, runsAs } of routes) {
        const route = Effect.provideService(Effect.provideContext(handler, own), ServiceContext, service)
        yield* router.add(
          method,
          `/api/${plugin}${path}`,
          Middleware.handle({ service, handler: route, runsAs, answer: Failure.answer(plugin) })
        )
      }
    })
  )

/** Decodes the body of a request. */
export const body = <A, RD>(schema: Schema.ConstraintDecoder<A, RD>) =>
  HttpFailure.orBadRequest(HttpServerRequest.schemaBodyJson(schema))

/** Runs a part of `asEither` as the verified user of the request. Without one, it fails as `asUser` does. */
export const ofUser = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.serviceOption(UserContext), (user) =>
    user._tag === "Some"
      ? Effect.provideService(effect, UserContext, user.value)
      : Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => ExecutionContext.provideUser(effect, request))
  )

/** The key of the sender of the request: the verified user, or without a token the user that the proxy names. */
export const sender = Effect.gen(function* () {
  const { headers } = yield* HttpServerRequest.HttpServerRequest
  const user = yield* Effect.serviceOption(UserContext)
  return JSON.stringify(user._tag === "Some" ? [Caller.key(user.value)] : [null, headers["x-forwarded-user"]])
})

/** Asks a policy about the sender of the request, and fails with 403 if it says no. */
export const allow = <A extends Action, Resource>(
  policy: Policy<A, Resource>,
  action: A,
  resource: Resource
): Effect.Effect<void, HttpFailure.HttpFailure> =>
  Effect.flatMap(Effect.serviceOption(UserContext), (user) =>
    Effect.flatMap(policy(action, resource, user._tag === "Some" ? user.value : undefined), (isAllowed) =>
      isAllowed ? Effect.void : Effect.fail(Failure.refusal(403, "You may not do this in this app", "Forbidden"))
    )
  )
