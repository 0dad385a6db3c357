/** Bounds of the options and variables of a layer. One outside of its bounds fails the start with a sentence that names it. */
import { Config, ConfigProvider, Duration, Effect, Formatter, Option, Predicate, Schema } from "effect"
import type { Policy } from "../Operation.ts"
import { refused } from "./workspace/settings.ts"

/** Describes the required value, or returns `undefined` if the value is within the bound. */
export type Bound = (value: unknown) => string | undefined

export const integer =
  (least: number, most = Number.MAX_SAFE_INTEGER): Bound =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most
      ? undefined
      : wholeNumber(least, most)

export const wholeNumber = (least: number, most: number): string =>
  `a whole number ${most === Number.MAX_SAFE_INTEGER ? `of ${least} or more` : `from ${least} to ${most}`}`

const isLonger = (least: Duration.Duration) => (value: unknown) =>
  !Number.isNaN(value) &&
  Option.exists(Duration.fromInput(value as Duration.Input), (duration) =>
    Duration.isGreaterThanOrEqualTo(duration, least)
  )

const longest = { moment: Duration.zero, millisecond: Duration.millis(1) }

/** A duration of at least zero, or of at least 1 millisecond, the unit of timers. */
export const duration =
  (least: keyof typeof longest = "millisecond"): Bound =>
  (value) =>
    isLonger(longest[least])(value)
      ? undefined
      : `a duration of ${Duration.format(longest[least])} or more, such as "10 seconds"`

export const text =
  (pattern: RegExp, what: string): Bound =>
  (value) =>
    typeof value === "string" && pattern.test(value) ? undefined : what

/** A number of attempts, which may be `Infinity`. */
const attempts: Bound = (value) => (typeof value === "number" && value >= 0 ? undefined : "a number of 0 or more")

/** Fails with a `ConfigError` that names the first option outside of its bounds. An absent option is always valid. */
export const check = <O extends object>(
  owner: string,
  options: O,
  bounds: { readonly [K in keyof O]?: Bound }
): Effect.Effect<void, Config.ConfigError> => {
  for (const [name, bound] of Object.entries<Bound | undefined>(bounds)) {
    const value: unknown = options[name as keyof O] // the bounds are those of options
    const wanted = value === undefined ? undefined : bound?.(value)
    if (wanted !== undefined) {
      return refused(`The option ${name} of ${owner} is not ${wanted}: ${shown(Formatter.format(value))}`)
    }
  }
  return Effect.void
}

/** Reads a variable, which may be absent or blank. Fails with a `ConfigError` that has its name, `wanted` and its value. */
export const variable = <A>(
  name: string,
  parsed: (name: string) => Config.Config<A>,
  wanted: string
): Config.Config<A | undefined> =>
  Config.flatMap(Config.withDefault(Config.String(name), ""), (text) =>
    text.trim() === ""
      ? Config.succeed(undefined)
      : Config.orElse(parsed(name), () =>
          Config.fail(new ConfigProvider.SourceError({ message: `${name} is not ${wanted}: ${shown(text)}` }))
        )
  )

/** The port of the application; 0 takes a free one. */
export const appPort = variable(
  "DATABRICKS_APP_PORT",
  (name) => Config.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 })), name),
  "a port from 0 to 65535"
)

// The text before an "@" may be a password.
const shown = (value: string) => value.replaceAll(/[^\s"]*@/g, "…@").slice(0, 100)

/** Checks the time limits and retries of a policy. */
export const checkPolicy = (owner: string, policy: Policy): Effect.Effect<void, Config.ConfigError> =>
  Effect.andThen(
    check(owner, policy, { timeout: duration(), totalTimeout: duration() }),
    check(`${owner}'s retry`, Predicate.isObject(policy.retry) ? policy.retry : {}, {
      attempts,
      delay: duration("moment"),
      maxDelay: duration("moment"),
      budget: duration("moment")
    })
  )
