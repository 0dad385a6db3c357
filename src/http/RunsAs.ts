/**
 * The compile-time check that every endpoint of an Api is under `AsUser` or `AsService`. Browser-safe.
 *
 * @since 0.1.0
 */
import type { HttpApi, HttpApiGroup } from "effect/http-api"
import type { AsService } from "./AsService.ts"
import type { AsUser } from "./AsUser.ts"

/**
 * Returns an Api unchanged, and compiles only if each of its endpoints is under exactly one of `AsUser` and
 * `AsService`.
 *
 * The compiler's message names the other endpoints as OpenAPI does: `group.endpoint`. `public` lists the endpoints
 * without either middleware, and no others. They run as the service principal.
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
 * An endpoint or a group of a wider type (`HttpApiGroup.Constraint`, `any`, a type parameter) does not compile. A list
 * of public endpoints must be a tuple of single names. Endpoints that are added to the Api afterwards are not checked.
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

/** Only the type of a tuple of single names is sure to name the same endpoints as its value. */
type Written<Public extends ReadonlyArray<string>> = [
  IsOne<Public>,
  IsOne<Public["length"]>,
  { readonly [I in keyof Public]: IsOne<Public[I]> }[number]
] extends [true, true, true]
  ? unknown
  : 0 extends 1 & Public
    ? never // `any` is assignable to every type but never
    : { readonly "write in place, or as const": Public }

/** Whether a type is a single literal: not a union, `string`, `number` or `any`. */
type IsOne<A, All = A> = string extends A
  ? false
  : number extends A
    ? false
    : A extends All
      ? [All] extends [A]
        ? true
        : false
      : never

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
