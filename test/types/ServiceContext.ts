/** Only `layerConfig` has settings to fail on. */
import type { WorkspaceClient } from "effect-databricks"
import { ServiceContext } from "effect-databricks"
import type { Config, Layer } from "effect"
import { typeOf } from "./is.ts"

type Services = ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient

typeOf(ServiceContext.layer({})).is<Layer.Layer<Services, ServiceContext.ServiceContextError>>()
typeOf(ServiceContext.layerConfig()).is<
  Layer.Layer<Services, ServiceContext.ServiceContextError | Config.ConfigError>
>()
