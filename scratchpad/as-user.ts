/** Runs one query as the app, as alice and as bob, and refuses a request whose headers name another user. */
import { App, asUser, ServiceContext, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Console, Effect, Layer, Schema } from "effect"

const { LocalWorkspace: Workspace } = LocalWorkspace

const whoRuns = SqlWarehouse.query(Schema.Struct({ caller: Schema.String }))`SELECT current_user AS caller`

const program = Effect.gen(function* () {
  const workspace = yield* Workspace
  const alice = yield* workspace.headers("alice@example.com")
  const bob = yield* workspace.headers("bob@example.com")
  yield* Console.log("the app:       ", yield* whoRuns)
  const both = [alice, bob].map((headers) => Effect.provide(whoRuns, asUser(headers)))
  yield* Console.log("alice and bob: ", yield* Effect.all(both, { concurrency: "unbounded" }))
  const liar = { ...alice, "x-forwarded-email": "bob@example.com" }
  yield* Console.log("a header lies: ", String(yield* Effect.flip(Effect.provide(whoRuns, asUser(liar)))))
})

const Live = SqlWarehouse.layer.pipe(
  Layer.provideMerge(ServiceContext.layerConfig()),
  Layer.provide(LocalWorkspace.layerEnv()),
  Layer.provideMerge(LocalWorkspace.layer())
)

App.runMain(Effect.provide(program, Live))
