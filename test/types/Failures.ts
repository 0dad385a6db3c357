/** Forgetting `Failures` does not compile: the error of a handler is not one that its endpoint declares. */
import type * as Library from "effect-databricks"
import { AsUser, Failures, type Files, FileTransfer, SqlWarehouse } from "effect-databricks"
import type { Failure } from "effect-databricks/http/Failures"
import { Effect } from "effect"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

class Sales extends HttpApiGroup.make("sales").add(HttpApiEndpoint.get("list", "/sales")).middleware(AsUser) {}

class Api extends HttpApi.make("api").add(Sales).middleware(Failures) {}
class Forgotten extends HttpApi.make("forgotten").add(Sales) {}

const list = () => Effect.asVoid(SqlWarehouse.query()`SELECT 1`)

export const handled = HttpApiBuilder.group(Api, "sales", (handlers) => handlers.handle("list", list))
// @ts-expect-error -- the endpoint does not declare DatabricksError
export const forgotten = HttpApiBuilder.group(Forgotten, "sales", (handlers) => handlers.handle("list", list))

/** The errors of a module of the library that have an identifier, by which `Failures` recognizes them. */
type ErrorsIn<Module> = {
  readonly [Name in keyof Module]-?: Module[Name] extends {
    readonly identifier: string
    new (...args: never): infer Instance
  }
    ? Extract<Instance, Error>
    : never
}[keyof Module]

type Modules = typeof Library

type Errors = { readonly [Name in keyof Modules]-?: ErrorsIn<Modules[Name]> }[keyof Modules]

// They are never alone: a reason is in its DatabricksError, and a cause in its SqlError.
type Parts =
  | Library.DatabricksError.Reason
  | InstanceType<(typeof Library.LakebaseError)[keyof typeof Library.LakebaseError]>

// Each is one that a handler may fail with.
export const undeclared = (error: Exclude<Errors, Parts>): Failure => error

class Store extends HttpApiGroup.make("store").add(HttpApiEndpoint.put("upload", "/upload")).middleware(AsUser) {}

class StoreApi extends HttpApi.make("store").add(Store).middleware(Failures) {}

export const uploaded = (files: Files.Files["Service"]) =>
  HttpApiBuilder.group(StoreApi, "store", (handlers) =>
    handlers.handle("upload", () => FileTransfer.upload(files, "x"))
  )
