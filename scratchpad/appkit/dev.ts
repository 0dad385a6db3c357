/** The application on this machine: a local workspace, and a proxy that signs users in. `npm run demo:appkit` runs it. */
import { Layer } from "effect"
import { App, ServiceContext } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { index, job, metricView, model, seed, space } from "./local.ts"
import { Main } from "./server.ts"

// Stopped, so that the page shows how its first query waits for the warehouse.
const warehouse = { name: "Shop", state: "STOPPED" } as const

const OnColdWarehouse = Layer.unwrap(
  LocalWorkspace.LocalWorkspace.useSync(({ warehouses }) => {
    const warehouseId = warehouses.find(({ name }) => name === warehouse.name)!.id
    return Main.pipe(Layer.provide(ServiceContext.layerConfig({ warehouseId })))
  })
)

const volume = "/Volumes/main/shop/documents"
const indexName = "main.shop.articles_index"

App.runMain(
  LocalWorkspace.dev(OnColdWarehouse, {
    directory: false,
    seed,
    warehouses: [{ name: "Genie" }, warehouse],
    warehouseStartTime: "5 seconds",
    rowsPerChunk: 1000,
    metricViews: [metricView],
    files: { volumes: [{ path: volume }] },
    genie: [space],
    jobs: [job],
    search: { [indexName]: index },
    serving: { model },
    env: {
      DATABRICKS_APP_NAME: "appkit",
      DATABRICKS_GENIE_SPACE_ID: space.spaceId,
      DATABRICKS_JOB_REPORT: job.id,
      DATABRICKS_SERVING_ENDPOINT_NAME: "model",
      DATABRICKS_VOLUME_DOCUMENTS: volume,
      DATABRICKS_VS_INDEX_NAME: indexName
    }
  })
)
