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
 * An endpoint that is added to the Api afterwards is not checked.
 *
 * @since 0.1.0
 * @category combinators
 */
export const checked = <
  Id extends string,
  Groups extends HttpApiGroup.Constraint,
  const Public extends Neither<Groups> = never
>(
  api: HttpApi.HttpApi<Id, Groups> & Checked<Groups, Public>,
  _options?: { readonly public: ReadonlyArray<Public> }
): HttpApi.HttpApi<Id, Groups> => api

type Checked<Groups, Public> = ([Exclude<Neither<Groups>, Public>] extends [never]
  ? unknown
  : { readonly "say AsUser or AsService on": Exclude<Neither<Groups>, Public> }) &
  ([Both<Groups>] extends [never] ? unknown : { readonly "say only one of AsUser and AsService on": Both<Groups> })

type Neither<Groups> = Extract<EndpointOf<Groups>, { readonly says: "neither" }>["name"]

type Both<Groups> = Extract<EndpointOf<Groups>, { readonly says: "both" }>["name"]

type EndpointOf<Groups> =
  Groups extends HttpApiGroup.HttpApiGroup<infer Group, infer Endpoints, infer TopLevel>
    ? Endpoints extends { readonly identifier: infer Endpoint extends string; readonly "~Middleware": infer Middleware }
      ? { readonly name: TopLevel extends true ? Endpoint : `${Group}.${Endpoint}`; readonly says: Says<Middleware> }
      : never
    : never

type Says<Middleware> = [Extract<Middleware, AsUser>] extends [never]
  ? [Extract<Middleware, AsService>] extends [never]
    ? "neither"
    : "AsService"
  : [Extract<Middleware, AsService>] extends [never]
    ? "AsUser"
    : "both"
