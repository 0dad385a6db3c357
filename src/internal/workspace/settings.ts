import { Config, ConfigProvider, Effect } from "effect"

/** Fails with a `ConfigError` with this message. */
export const refused = (message: string): Effect.Effect<never, Config.ConfigError> =>
  Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))
