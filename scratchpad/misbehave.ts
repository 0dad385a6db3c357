/** Lets a local workspace respond with 503 once, so that the query is retried. */
import { App, ServiceContext, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Console, Effect, Layer, Schema } from "effect"

const { LocalWorkspace: Workspace } = LocalWorkspace

const path = "/api/2.0/sql/statements"
const answer = SqlWarehouse.query(Schema.Struct({ answer: Schema.Int }))`SELECT 42 AS answer`

const program = Effect.gen(function* () {
  const workspace = yield* Workspace
  yield* workspace.misbehave({ path, times: 1, kind: "answer", status: 503, headers: { "retry-after": "1" } })
  yield* Console.log(yield* answer)
  const statements = (yield* workspace.requests).filter((request) => request.path.startsWith(path))
  yield* Console.log(statements.map(({ method, path }) => `${method} ${path}`))
})

const service = Workspace.useSync(({ host, servicePrincipal, warehouseId, workspaceId }) =>
  ServiceContext.layer({ host, warehouseId, workspaceId, ...servicePrincipal })
)

const Live = SqlWarehouse.layer.pipe(Layer.provide(Layer.unwrap(service)), Layer.provideMerge(LocalWorkspace.layer()))

App.runMain(Effect.scoped(program).pipe(Effect.provide(Live)))
