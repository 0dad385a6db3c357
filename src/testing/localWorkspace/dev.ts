/** `LocalWorkspace.dev`: the proxy, the environment and the seed around an application on a local workspace. */
import { Config, ConfigProvider, Console, Effect, Layer, Option } from "effect"
import * as Bounds from "../../internal/bounds.ts"
import * as Proxy from "../appsProxy/server.ts"
import type { DevOptions, LocalWorkspace, LocalWorkspaceError, Options } from "../LocalWorkspace.ts"
import { freePort } from "./postgres/server.ts"

export const make = <A, E, R>(
  main: Layer.Layer<A, E, R>,
  { directory: kept = ".databricks/local", env = {}, port, seed, ...options }: DevOptions,
  {
    LocalWorkspace,
    failed,
    layer
  }: {
    readonly LocalWorkspace: Effect.Effect<LocalWorkspace["Service"], never, LocalWorkspace>
    readonly layer: (options: Options) => Layer.Layer<LocalWorkspace, LocalWorkspaceError>
    readonly failed: (message: string, cause: unknown) => LocalWorkspaceError
  }
): Layer.Layer<LocalWorkspace, E | LocalWorkspaceError | Config.ConfigError, Exclude<R, LocalWorkspace>> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const directory = kept === false ? undefined : kept
      const proxy = yield* Effect.mapError(Proxy.listen(port ?? (yield* Bounds.appPort) ?? 8000), (cause) =>
        failed(`${cause.message}. Set DATABRICKS_APP_PORT to a port that is free`, cause)
      )
      const applicationPort = yield* Effect.mapError(freePort, (cause) => failed(cause.message, cause))
      const served = Effect.flatMap(LocalWorkspace, (workspace) =>
        Effect.andThen(proxy.serve(applicationPort, workspace), announce(proxy.origin, workspace, directory))
      )
      const variables = Effect.flatMap(LocalWorkspace, (workspace) =>
        environment({
          ...workspace.env,
          DATABRICKS_APP_HOST: "127.0.0.1",
          DATABRICKS_APP_PORT: String(applicationPort),
          ...env
        })
      )
      const seeded = Effect.flatMap(LocalWorkspace, ({ administer }) =>
        seed === undefined
          ? Effect.void
          : Effect.mapError(administer(seed), (cause) =>
              failed(
                `The seed failed: ${cause.message}. It runs at each start, also on the data of the last: write it with IF NOT EXISTS and ON CONFLICT`,
                cause
              )
            )
      )
      // The proxy opens last and closes first, so that no stream through it delays the end of the application.
      return Layer.effectDiscard(served).pipe(
        Layer.provide(main),
        Layer.provide(ConfigProvider.layer(variables)),
        Layer.provide(Layer.effectDiscard(seeded)),
        Layer.provideMerge(layer({ ...options, ...(directory !== undefined && { directory }) }))
      )
    })
  )

// In a shell these variables configure another workspace.
const ofPlatform = /^(DATABRICKS_|ARM_|GOOGLE_|PG|LAKEBASE_)/

const without = (outer: ConfigProvider.ConfigProvider) =>
  ConfigProvider.make((path) => (ofPlatform.test(path.join("_")) ? Effect.undefined : outer.load(path)))

// Requests to the workspace must not go through an HTTP proxy. The lower-case name takes precedence.
const noProxy = Effect.map(
  Effect.all(["no_proxy", "NO_PROXY"].map((name) => Config.option(Config.NonEmptyString(name)))),
  (values) => [...values.flatMap(Option.toArray).slice(0, 1), "127.0.0.1"].join()
)

/** Returns a `ConfigProvider` of these variables and of this process, without the platform's variables of this process. */
const environment = Effect.fnUntraced(function* (variables: Readonly<Record<string, string | undefined>>) {
  const outer = yield* ConfigProvider.ConfigProvider
  return ConfigProvider.fromEnvRecord({ ...variables, no_proxy: yield* noProxy }).pipe(
    ConfigProvider.orElse(without(outer))
  )
})

const shown = 5

/** Prints the origin of the application, the sign-in link of each user, and the directory of the data. */
const announce = (origin: string, { users }: LocalWorkspace["Service"], directory: string | undefined) => {
  const people = users.slice(0, shown).map(({ userName }) => `  as ${userName}: ${origin}/.apps/as/${userName}`)
  const others = users.length - shown
  return Console.log(
    [
      "",
      `${origin} serves the application on a local workspace. Choose a user at ${origin}/.apps/`,
      ...people,
      ...(others > 0 ? [`  and ${others} others`] : []),
      directory === undefined
        ? "The data is deleted when this process ends."
        : `The data is kept in ${directory}: delete it to start with an empty database.`,
      ""
    ].join("\n")
  )
}
