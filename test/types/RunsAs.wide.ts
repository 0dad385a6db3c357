/** An Api whose types leave an endpoint open does not pass the check. */
import { AsUser, RunsAs } from "effect-databricks"
import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

const one = HttpApiEndpoint.get("one", "/one")
const mine = HttpApiGroup.make("mine").add(one.middleware(AsUser))
class Oops extends HttpApiGroup.make("oops").add(one, HttpApiEndpoint.get("two", "/two")) {}

declare const group: HttpApiGroup.HttpApiGroup<"er", HttpApiEndpoint.Constraint>
// @ts-expect-error -- the type of the group has an endpoint of which nothing is known
RunsAs.checked(HttpApi.make("api").add(group))
// @ts-expect-error -- so has this one, and the list of public endpoints cannot name it
RunsAs.checked(HttpApi.make("api").add(group), { public: ["an endpoint whose type is not known"] })

declare const someGroup: HttpApiGroup.Constraint
// @ts-expect-error -- the type of the group does not tell its endpoints
RunsAs.checked(HttpApi.make("api").add(mine, someGroup))

// oxlint-disable-next-line typescript/no-explicit-any -- it is what must not pass
declare const anyGroup: HttpApiGroup.HttpApiGroup<"er", any>
// @ts-expect-error -- the endpoints are any
RunsAs.checked(HttpApi.make("api").add(anyGroup))

// oxlint-disable-next-line typescript/no-explicit-any -- it is what must not pass
declare const anyApi: HttpApi.HttpApi<"api", any>
// @ts-expect-error -- the groups are any
RunsAs.checked(anyApi)
declare const someApi: HttpApi.HttpApi<"api", HttpApiGroup.Constraint>
// @ts-expect-error -- the groups are not known
RunsAs.checked(someApi)

declare const request: HttpApiEndpoint.ConstraintRequest
// @ts-expect-error -- neither the name nor the middleware of the endpoint is known
RunsAs.checked(HttpApi.make("api").add(HttpApiGroup.make("er").add(request)))
declare const named: HttpApiGroup.HttpApiGroup<string, typeof one>
// @ts-expect-error -- no literal lists an endpoint whose group may have any name
RunsAs.checked(HttpApi.make("api").add(named), { public: ["er.one"] })
declare const top: HttpApiEndpoint.Top
// @ts-expect-error -- so with this one
RunsAs.checked(HttpApi.make("api").add(HttpApiGroup.make("er").add(mine.endpoints.one, top)))

declare const pubs: Array<"oops.one" | "oops.two">
// @ts-expect-error -- the array may lack either of the names
RunsAs.checked(HttpApi.make("api").add(Oops), { public: pubs })
RunsAs.checked(HttpApi.make("api").add(mine, Oops), { public: ["oops.one", "oops.two"] })
declare const either: "oops.one" | "oops.two"
// @ts-expect-error -- the element is one of the names, and the other endpoint is not listed
RunsAs.checked(HttpApi.make("api").add(Oops), { public: [either] })
// @ts-expect-error -- so with an element that may be either beside one that is not
RunsAs.checked(HttpApi.make("api").add(Oops), { public: ["oops.one", either] })
declare const eitherList: readonly ["oops.one"] | readonly ["oops.two"]
// @ts-expect-error -- the list is one of the two
RunsAs.checked(HttpApi.make("api").add(Oops), { public: eitherList })
declare const rest: readonly ["oops.one", ...ReadonlyArray<"oops.two">]
// @ts-expect-error -- the rest may be empty
RunsAs.checked(HttpApi.make("api").add(Oops), { public: rest })
declare const optional: readonly ["oops.one", "oops.two"?]
// @ts-expect-error -- the element may be missing
RunsAs.checked(HttpApi.make("api").add(Oops), { public: optional })
// oxlint-disable-next-line typescript/no-explicit-any -- it is what must not pass
declare const anyName: any
// @ts-expect-error -- the element may be any name
RunsAs.checked(HttpApi.make("api").add(Oops), { public: [anyName] })
// @ts-expect-error -- the list may be any
RunsAs.checked(HttpApi.make("api").add(Oops), { public: anyName })
// @ts-expect-error -- the options may be any
RunsAs.checked(HttpApi.make("api").add(Oops), anyName)
declare const none: never
// @ts-expect-error -- the element is not a name
RunsAs.checked(HttpApi.make("api").add(Oops), { public: [none] })
RunsAs.checked(HttpApi.make("api").add(mine), { public: [] })
const listed = ["oops.one", "oops.two"] as const
RunsAs.checked(HttpApi.make("api").add(mine, Oops), { public: listed })

export const ofGroup = <G extends HttpApiGroup.Constraint>(group: G) =>
  // @ts-expect-error -- nothing is known of a type parameter
  RunsAs.checked(HttpApi.make("api").add(group))
export const ofGroups = <G extends HttpApiGroup.Constraint>(api: HttpApi.HttpApi<"api", G>) =>
  // @ts-expect-error -- nothing is known of a type parameter
  RunsAs.checked(api)
export const ofEndpoint = <E extends HttpApiEndpoint.Constraint>(endpoint: E) =>
  // @ts-expect-error -- nothing is known of a type parameter
  RunsAs.checked(HttpApi.make("api").add(HttpApiGroup.make("er").add(endpoint)))
