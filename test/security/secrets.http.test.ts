import { assert, layer } from "@effect/vitest"
import { AsUser, Failures, getWorkspaceClient, Lakebase, Middleware, ServerSentEvents } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Effect, Layer, Redacted, Schema, Stream } from "effect"
import { HttpClientRequest, HttpMiddleware } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { lakebase } from "../fixtures/lakebaseClient.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { serve, Served } from "../http/harness.ts"
import * as Marks from "./marks.ts"

const jobs = "/api/2.2/jobs/get"
const refused = Effect.flatMap(getWorkspaceClient, (client) => client.request(HttpClientRequest.get(jobs)))
const rows = Stream.unwrap(
  Effect.map(Lakebase.user, (sql) => sql`SELECT 1 / (2 - n) FROM generate_series(1, 3) AS n`.stream)
)

class Ways extends HttpApiGroup.make("ways")
  .add(
    HttpApiEndpoint.get("fails", "/fails"),
    HttpApiEndpoint.get("dies", "/dies"),
    HttpApiEndpoint.get("wrong", "/wrong", { success: Schema.Literal("right") }),
    HttpApiEndpoint.get("events", "/events"),
    HttpApiEndpoint.get("rows", "/rows")
  )
  .middleware(AsUser) {}

class Api extends HttpApi.make("test").add(Ways).middleware(Failures) {}

const WaysLive = HttpApiBuilder.group(Api, "ways", (handlers) =>
  handlers
    .handle("fails", () => Effect.asVoid(refused))
    .handle("dies", () => Effect.orDie(Effect.asVoid(refused))) // a defect is what it is about
    .handle("wrong", () => Effect.succeed("wrong" as "right")) // what no type would let through
    .handle("events", () => ServerSentEvents.toResponse(Stream.fromEffect(refused)))
    .handle("rows", () => ServerSentEvents.toResponse(rows))
)

const Routes = HttpApiBuilder.layer(Api, { openapiPath: "/openapi.json" }).pipe(
  Layer.provide(WaysLive),
  Layer.provide(Middleware.layer)
)

layer(LocalWorkspace.layer(), { timeout: "60 seconds", excludeTestServices: true })(
  "An Api under AsUser and Failures",
  (it) => {
    // Spans have no headers unless an application asks for them.
    const Headers = Layer.succeed(HttpMiddleware.TracerHeaderFilter, () => true)

    it.layer(serve(Routes, { development: true, services: Layer.merge(lakebase(), Headers) }))((it) => {
      it.effect("puts no secret into a response, an event, the OpenAPI document, a log or a span", () =>
        Effect.gen(function* () {
          const { call, logs, spans } = yield* Served
          const { misbehave, servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
          const request = yield* requestOf(alice)
          const token = request["x-forwarded-access-token"]!
          const marks = Marks.make(["eyJhbGciOiJIUzI1NiJ9.", Redacted.value(servicePrincipal.clientSecret)])
          const paths = ["/fails", "/dies", "/wrong", "/events", "/rows", "/nowhere", "/openapi.json"]
          const callers = [
            request,
            { ...request, "x-forwarded-email": bob },
            { ...request, "x-forwarded-access-token": `${token}x` },
            { ...request, "x-forwarded-access-token": `${token},x` }
          ]
          const answers: Array<unknown> = []
          for (const status of [401, 403, 429, 500, 503]) {
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* misbehave({ kind: "answer", status, path: jobs, body: `{"message":"It was Bearer ${token}"}` })
                for (const headers of callers)
                  for (const path of paths) answers.push(yield* call("GET", path, { headers }))
              })
            )
          }
          assert.deepStrictEqual(marks.in(answers), [])
          assert.deepStrictEqual(marks.in(logs), [])
          assert.isAbove(spans.length, 100)
          const told = spans.map(({ attributes, events, links, name, status }) => [
            name,
            [...attributes],
            events,
            links,
            status._tag === "Ended" && status.exit._tag === "Failure" ? Cause.pretty(status.exit.cause) : ""
          ])
          assert.include(JSON.stringify(told), "http.request.header.x-forwarded-access-token")
          assert.deepStrictEqual(marks.in(told), [])
        })
      )
    })
  }
)
