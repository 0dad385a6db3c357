/** A served application with volumes of each kind, and what its tests share. */
import * as AppKitFiles from "effect-databricks/appkit/Files"
import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
import { Files, type Caller } from "effect-databricks"
import { type Duration, Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import type * as Http from "node:http"
import { notices, own, shared } from "../fixtures/files.ts"
import { alice, requestOf } from "../fixtures/people.ts"
import { Served, serve } from "../http/harness.ts"

export interface Asked {
  readonly action: AppKitFiles.Action
  readonly resource: AppKitFiles.Resource
  readonly caller: string | undefined
}

/** The questions to the policy of `exchange`. */
export const asked: Array<Asked> = []

/** Lets alice do everything, and nobody else anything. */
const policy = (action: AppKitFiles.Action, resource: AppKitFiles.Resource, caller: Caller.Caller | undefined) =>
  Effect.sync(() => {
    asked.push({ action, resource, caller: caller?.userName })
    return caller?.userName === alice
  })

export const limit = 2_000_000

const volumes = {
  own,
  shared: { path: shared, maxUploadSize: limit },
  notices: { path: notices, runsAs: "service" },
  exchange: { path: `${own}/exchange`, runsAs: "service", maxUploadSize: limit, policy }
} as const

const routes = Layer.merge(
  AppKitFiles.layer({ volumes }),
  HttpRouter.add(
    "GET",
    "/config",
    ClientConfig.ClientConfig.use(({ current }) => Effect.map(current, (_) => HttpServerResponse.jsonUnsafe(_)))
  )
)

/** The ranges of the reads. */
export const ranges: Array<Files.Range | undefined> = []

const Recorded = Layer.effect(
  Files.Files,
  Effect.map(Files.make, (files) => ({
    ...files,
    read: (path: string, options?: Files.ReadOptions) => {
      ranges.push(options?.range)
      return files.read(path, options)
    }
  }))
)

const services = Layer.merge(Recorded, ClientConfig.layer)

export const App = serve(routes, { services })

/** An application whose requests and uploads have this time limit. */
export const hurried = (limit: Duration.Input) =>
  serve(AppKitFiles.layer({ volumes, timeout: limit, uploadTimeout: limit }), { services })

interface Options {
  readonly body?: unknown
  readonly headers?: Http.OutgoingHttpHeaders
  /** The sender; `undefined` sends no token. */
  readonly user?: string | undefined
}

export const call = Effect.fnUntraced(function* (
  method: string,
  route: string,
  path?: string,
  { body, headers, ...options }: Options = {}
) {
  const { call } = yield* Served
  const user = "user" in options ? options.user : alice
  const query = path === undefined ? "" : `?${new URLSearchParams({ path }).toString()}`
  return yield* call(method, `/api/files/${route}${query}`, {
    body,
    headers: { ...(user !== undefined && (yield* requestOf(user))), ...headers }
  })
})

export const get = (route: string, path?: string, options?: Options) => call("GET", route, path, options)

export const upload = (volume: string, path: string, body: string, options?: Options) =>
  call("POST", `${volume}/upload`, path, { ...options, body })
