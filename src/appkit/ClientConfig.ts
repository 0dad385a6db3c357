/**
 * The configuration that the hooks of `@databricks/appkit-ui` read from the page.
 *
 * @since 0.1.0
 */
import { Config, Context, Effect, Layer, Ref, type Schema } from "effect"

/**
 * The configuration, as the page holds it in `<script id="__appkit__">`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Values {
  /** The value of `DATABRICKS_APP_NAME`; `""` without it. */
  readonly appName: string
  readonly queries: Readonly<Record<string, string>>
  /** The paths of routes, by plugin and name. */
  readonly endpoints: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** The configuration of each plugin. */
  readonly plugins: Readonly<Record<string, Schema.Json>>
}

/**
 * The configuration of the application's page. Each plugin adds its part when its Layer is built.
 *
 * @since 0.1.0
 * @category services
 */
export class ClientConfig extends Context.Service<
  ClientConfig,
  {
    /** Returns the configuration, with the parts of all plugins. Everyone who may load the page can read it. */
    readonly current: Effect.Effect<Values>
    /** Adds the part of a plugin, which replaces an earlier one of the same name. */
    readonly add: (
      plugin: string,
      part: {
        readonly config?: Schema.Json | undefined
        readonly endpoints?: Readonly<Record<string, string>> | undefined
        readonly queries?: Readonly<Record<string, string>> | undefined
      }
    ) => Effect.Effect<void>
  }
>()("effect-databricks/appkit/ClientConfig") {}

const make = Effect.gen(function* () {
  const appName = yield* Config.withDefault(Config.String("DATABRICKS_APP_NAME"), "")
  const values = yield* Ref.make<Values>({ appName, queries: {}, endpoints: {}, plugins: {} })
  return ClientConfig.of({
    current: Ref.get(values),
    add: (plugin, { config, endpoints, queries }) =>
      Ref.update(values, (all) => ({
        ...all,
        queries: { ...all.queries, ...queries },
        endpoints: endpoints === undefined ? all.endpoints : { ...all.endpoints, [plugin]: endpoints },
        plugins: config === undefined ? all.plugins : { ...all.plugins, [plugin]: config }
      }))
  })
})

/**
 * Provides the configuration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ClientConfig, Config.ConfigError> = Layer.effect(ClientConfig, make)
