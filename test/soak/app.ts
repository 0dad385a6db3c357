// The application under soak: everything from the environment of Databricks Apps, and times short enough for a minute.
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import {
  App,
  Files,
  Genie,
  getWarehouseId,
  Jobs,
  Lakebase,
  Middleware,
  ModelServing,
  OperationCache,
  ServiceContext,
  SqlWarehouse,
  Telemetry
} from "effect-databricks"
import { Config, Effect, Layer } from "effect"
import { HttpRouter } from "effect/http"
import { HttpApiBuilder } from "effect/http-api"
import { SqlClient } from "effect/sql"
import { Api, gracePeriod as grace } from "./Api.ts"
import { defaults, handlers } from "./handlers.ts"
import * as Held from "./held.ts"
import * as Services from "./services.ts"

// No key: a row that is written twice shall be there twice.
const schema = [
  "CREATE SCHEMA IF NOT EXISTS desk",
  `CREATE TABLE IF NOT EXISTS desk.orders (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     owner text COLLATE "C" NOT NULL DEFAULT current_user,
     key text NOT NULL,
     part int NOT NULL DEFAULT 1
   )`,
  "CREATE INDEX IF NOT EXISTS orders_of_owner ON desk.orders (owner, id)",
  "ALTER TABLE desk.orders ENABLE ROW LEVEL SECURITY",
  "DROP POLICY IF EXISTS own ON desk.orders",
  "CREATE POLICY own ON desk.orders USING (owner = current_user) WITH CHECK (owner = current_user)",
  "GRANT USAGE ON SCHEMA desk TO PUBLIC",
  "GRANT SELECT, INSERT (key, part) ON desk.orders TO PUBLIC"
]

/** Without a warehouse and a database there is nothing to serve. */
const prepare = Effect.gen(function* () {
  yield* getWarehouseId
  const sql = yield* SqlClient.SqlClient
  yield* sql.withTransaction(Effect.forEach(schema, (statement) => sql.unsafe(statement), { discard: true }))
})

const Database = Layer.unwrap(
  Effect.map(Lakebase.config, (options) =>
    Lakebase.layer({
      ...options,
      acquireTimeout: "4 seconds",
      idleTimeout: "1 second",
      maxLifetime: "10 seconds"
    })
  )
)

// As `layerConfig`, but for connections to the workspace that would be kept for half a minute.
const Service = Layer.effectContext(Effect.flatMap(ServiceContext.config, ServiceContext.make)).pipe(
  Layer.provide(NodeHttpClient.layerUndiciOptions({ keepAliveTimeout: 500, keepAliveMaxTimeout: 500 }))
)

const Server = Layer.unwrap(
  Effect.map(Config.withDefault(Config.Duration("GRACE_PERIOD"), grace), (gracePeriod) =>
    App.layerHttpServer({ host: "127.0.0.1", gracePeriod })
  )
)

const Routes = Layer.mergeAll(
  HttpApiBuilder.layer(Api).pipe(Layer.provide([...handlers, Services.handlers]), Layer.provide(Middleware.layer)),
  Services.files.pipe(Layer.provide(Middleware.layer)),
  Held.layer
)

App.runMain(
  HttpRouter.serve(Routes, { disableLogger: true }).pipe(
    Layer.provide(Layer.effectDiscard(prepare)),
    Layer.provide(Server),
    Layer.provide([Database, OperationCache.layer(), SqlWarehouse.layerWith(defaults)]),
    Layer.provide([Files.layer, Genie.layer, Jobs.layer, ModelServing.layer]),
    Layer.provide(Service),
    Layer.provide(Telemetry.layerConfig())
  )
)
