/** The analytics routes as the hooks of AppKit call them. */
import { Queries, ResumableStreams, SqlWarehouse } from "effect-databricks"
import * as Analytics from "effect-databricks/appkit/Analytics"
import { Effect, Layer } from "effect"
import { requestOf } from "../fixtures/people.ts"
import { serve, Served } from "../http/harness.ts"

/** Serves the routes of these queries. */
export const app = (texts: Readonly<Record<string, string>>, options?: Analytics.Options<"query">) =>
  serve(Analytics.layer(options), {
    services: Layer.mergeAll(
      ResumableStreams.layerWith({ grace: "1 second" }),
      SqlWarehouse.layer,
      Queries.layerRecord(texts)
    )
  })

/** Posts a body as a user, or without a token; a string is the text of the body. */
export const post = (path: string, body: unknown, userName?: string, headers: Record<string, string> = {}) =>
  Effect.gen(function* () {
    const { call } = yield* Served
    const own = userName === undefined ? {} : yield* requestOf(userName)
    return yield* call("POST", path, { body, headers: { ...own, ...headers } })
  })

/** What `fetch` of the browser gets, and the fetch ends when the scope closes. */
export const fetched = (path: string, body: unknown, userName?: string) =>
  Effect.gen(function* () {
    const { port } = yield* Served
    const own = userName === undefined ? {} : yield* requestOf(userName)
    return yield* Effect.tryPromise((signal) =>
      fetch(`http://127.0.0.1:${port}${path}`, {
        method: "POST",
        headers: { ...own, "content-type": "application/json" },
        body: JSON.stringify(body),
        signal
      }).then(async (response) => ({ response, bytes: new Uint8Array(await response.arrayBuffer()) }))
    )
  })
