/** `HttpClient.make` around a transport that answers at once. */
import { Effect } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { measure } from "./cost.ts"

const url = "https://adb-1.azuredatabricks.net/api/2.0/sql/statements"
const response = new Response("{}")
const transport = HttpClient.make((request) => Effect.succeed(HttpClientResponse.fromWeb(request, response)))
const request = HttpClientRequest.get(url)
const untraced = Effect.provideService(transport.execute(request), HttpClient.TracerDisabledWhen, () => true)

const controller = new AbortController()
const registry = new FinalizationRegistry<AbortController>((controller) => controller.abort())

export const client = () =>
  measure("A request of HttpClient", [
    {
      name: "transport alone",
      run: () => Effect.runSync(Effect.sync(() => HttpClientResponse.fromWeb(request, response)))
    },
    { name: "execute, tracer disabled", run: () => Effect.runSync(untraced), over: "transport alone" },
    { name: "execute, native tracer", run: () => Effect.runSync(transport.execute(request)), over: "transport alone" },
    {
      name: "FinalizationRegistry.register, which it calls",
      run: () => {
        const token = {}
        registry.register(token, controller, token)
      }
    },
    { name: "new AbortController", run: () => new AbortController() },
    {
      name: "abort, which the end of a streamed body calls",
      run: () => {
        const controller = new AbortController()
        controller.signal.addEventListener("abort", () => {}, { once: true })
        controller.abort()
      },
      over: "new AbortController"
    }
  ])
