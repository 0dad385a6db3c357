/** The whole Api, for a client. The server serves each subject's Api if the subject's setting is there. */
import { HttpApi, type HttpApiGroup, OpenApi } from "effect/http-api"
import manifest from "../../package.json" with { type: "json" }
import { ChatApi } from "./chat/Api.ts"
import { FilesApi } from "./files/Api.ts"
import { GenieApi } from "./genie/Api.ts"
import { JobsApi } from "./jobs/Api.ts"
import { OrdersApi } from "./orders/Api.ts"
import { WhoApi } from "./who/Api.ts"

/** Names an Api in its OpenAPI document. */
export const titled = <Id extends string, Groups extends HttpApiGroup.Constraint>(api: HttpApi.HttpApi<Id, Groups>) =>
  api
    .annotate(OpenApi.Title, "effect-databricks demo")
    .annotate(OpenApi.Version, manifest.version)
    // The proxy signs users in. Without this, Swagger shows an Authorize button for an empty list of schemes.
    .annotate(OpenApi.Transform, ({ components, ...spec }) => ({
      ...spec,
      components: { schemas: components.schemas }
    }))

export class Api extends titled(
  HttpApi.make("effect-databricks-demo")
    .addHttpApi(WhoApi)
    .addHttpApi(OrdersApi)
    .addHttpApi(FilesApi)
    .addHttpApi(JobsApi)
    .addHttpApi(GenieApi)
    .addHttpApi(ChatApi)
) {}
