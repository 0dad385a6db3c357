/** The environment of an application in development, and the message on the terminal. */
import { Config, ConfigProvider, Console, Effect, Option } from "effect"
import type { LocalWorkspace } from "../LocalWorkspace.ts"

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
export const environment = Effect.fnUntraced(function* (variables: Readonly<Record<string, string | undefined>>) {
  const outer = yield* ConfigProvider.ConfigProvider
  return ConfigProvider.fromEnvRecord({ ...variables, no_proxy: yield* noProxy }).pipe(
    ConfigProvider.orElse(without(outer))
  )
})

const shown = 5

/** Prints the origin of the application, the sign-in link of each user, and the directory of the data. */
export const announce = (origin: string, { users }: LocalWorkspace["Service"], directory: string | undefined) => {
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
