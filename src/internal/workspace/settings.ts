import { Config, ConfigProvider, Effect } from "effect"

/** The settings that are given: `undefined` stands for one that is not. */
export const defined = <A extends object>(options: A): { [K in keyof A]: NonNullable<A[K]> } =>
  // The loop drops exactly what the type drops.
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never

/** Fails with a `ConfigError` of this sentence. */
export const refused = (message: string): Effect.Effect<never, Config.ConfigError> =>
  Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message })))
