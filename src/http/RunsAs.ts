/**
 * The check that every endpoint of an Api says whom it runs as; a browser can import this module.
 *
 * @since 0.1.0
 */
import type { HttpApi, HttpApiGroup } from "effect/http-api"
import type { AsService } from "./AsService.ts"
import type { AsUser } from "./AsUser.ts"

/**
 * Gives an Api back unchanged, and compiles only if each of its endpoints is under `AsUser` or under `AsService`, and none
 * under both. The compiler's message names the endpoints that are not, as OpenAPI does: `group.endpoint`.
 *
 * `public` lists the endpoints that say neither on purpose, and nothing else. They run as the service principal.
 *
 * ```ts
 * import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
 * import { AsUser } from "effect-databricks/http/AsUser"
 * import * as RunsAs from "effect-databricks/http/RunsAs"
 *
 * class Sales extends HttpApiGroup.make("sales").add(HttpApiEndpoint.get("list", "/sales")).middleware(AsUser) {}
 * class System extends HttpApiGroup.make("system").add(HttpApiEndpoint.get("health", "/health")) {}
 *
 * export class Api extends RunsAs.checked(HttpApi.make("api").add(Sales, System), { public: ["system.health"] }) {}
 * ```
 *
 * An endpoint or a group whose type is wider than what it is (`HttpApiGroup.Constraint`, `any`, a type parameter) does not
 * compile, and neither does a list of public endpoints that is not a tuple. An endpoint that is added to the Api afterwards is
 * not checked.
 *
 * @since 0.1.0
 * @category combinators
 */
export const checked = <
  Id extends string,
  Groups extends HttpApiGroup.Constraint,
  const Public extends ReadonlyArray<Neither<Groups>> = readonly []
>(
  api: HttpApi.HttpApi<Id, Groups> & Checked<Groups, Public[number]>,
  _options?: { readonly public: Public & Written<Public> }
): HttpApi.HttpApi<Id, Groups> => api

type Checked<Groups, Public> = ([Exclude<Neither<Groups>, Public> | Unknown<Groups>] extends [never]
  ? unknown
  : { readonly "say AsUser or AsService on": Exclude<Neither<Groups>, Public> | Unknown<Groups> }) &
  ([Both<Groups>] extends [never] ? unknown : { readonly "say only one of AsUser and AsService on": Both<Groups> })

/** The type of an array that is not a tuple may have names that the array does not have. */
type Written<Public extends ReadonlyArray<string>> = number extends Public["length"]
  ? { readonly "write in place, or as const": Public }
  : unknown

type Neither<Groups> = Extract<EndpointOf<Groups>, { readonly says: "neither" }>["name"]

type Both<Groups> = Extract<EndpointOf<Groups>, { readonly says: "both" }>["name"]

type Unknown<Groups> = Extract<EndpointOf<Groups>, { readonly says: "unknown" }>["name"]

type EndpointOf<Groups> =
  Groups extends HttpApiGroup.HttpApiGroup<infer Group, infer Endpoints, infer TopLevel>
    ? Endpoints extends { readonly identifier: infer Endpoint extends string; readonly "~Middleware": infer Middleware }
      ? { readonly name: TopLevel extends true ? Endpoint : `${Group}.${Endpoint}`; readonly says: Says<Middleware> }
      : NotKnown
    : NotKnown

interface NotKnown {
  readonly name: "an endpoint whose type is not known"
  readonly says: "unknown"
}

type Says<Middleware> = [Extract<Middleware, AsUser>] extends [never]
  ? [Extract<Middleware, AsService>] extends [never]
    ? "neither"
    : "AsService"
  : [Extract<Middleware, AsService>] extends [never]
    ? "AsUser"
    : "both"
