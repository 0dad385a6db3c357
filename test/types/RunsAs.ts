/** An Api that asks for the check compiles only when each of its endpoints says whom it runs as. */
import { AsService, AsUser, Failures, RunsAs } from "effect-databricks"
import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

const one = HttpApiEndpoint.get("one", "/one")
const two = HttpApiEndpoint.get("two", "/two")

class Mine extends HttpApiGroup.make("mine").add(one, two).middleware(AsUser) {}
class App extends HttpApiGroup.make("app").add(one.middleware(AsService)) {}
class Mixed extends HttpApiGroup.make("mixed").add(one.middleware(AsUser), two.middleware(AsService)) {}
class Oops extends HttpApiGroup.make("oops").add(one.middleware(AsUser), two) {}
class Health extends HttpApiGroup.make("health", { topLevel: true }).add(HttpApiEndpoint.get("health", "/health")) {}

const api = HttpApi.make("api").add(Mine, App, Mixed)

/** It is the Api that it was, and a class may extend it. */
export class Checked extends RunsAs.checked(api.middleware(Failures)) {}
export const unchanged: typeof api = RunsAs.checked(api)
RunsAs.checked(HttpApi.make("none"))

// @ts-expect-error -- oops.two says neither
RunsAs.checked(api.add(Oops))
// @ts-expect-error -- middleware is that of what was there before
RunsAs.checked(HttpApi.make("late").add(HttpApiGroup.make("late").middleware(AsUser).add(one)))

RunsAs.checked(api.add(Oops, Health), { public: ["health", "oops.two"] })
// @ts-expect-error -- oops.two is not listed
RunsAs.checked(api.add(Oops, Health), { public: ["health"] })
// @ts-expect-error -- no endpoint has this name
RunsAs.checked(api.add(Health), { public: ["heatlh"] })
// @ts-expect-error -- mine.one is not public: it says AsUser
RunsAs.checked(api.add(Health), { public: ["health", "mine.one"] })
// @ts-expect-error -- the name of an endpoint that is not at the top has its group
RunsAs.checked(api.add(Oops), { public: ["two"] })

// @ts-expect-error -- both.one says both
RunsAs.checked(api.add(HttpApiGroup.make("both").add(one.middleware(AsService)).middleware(AsUser)))
