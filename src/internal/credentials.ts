/** The service principal's credentials, by the SDK's own auth chain. */
import { Config as SdkConfig, ConfigError as SdkConfigError } from "@databricks/sdk-experimental/dist/config/Config.js"
import { Effect, Redacted } from "effect"
import type { Caller } from "../Caller.ts"
import { InvalidCredentialError, make as databricksError } from "../DatabricksError.ts"
import * as Answer from "./answer.ts"
import { failed, type ServiceContextError, startSentence } from "./startError.ts"

export interface CredentialOptions {
  /** URL or bare host name; may be left to the profile. */
  readonly host?: string | undefined
  readonly token?: Redacted.Redacted | undefined
  readonly clientId?: string | undefined
  readonly clientSecret?: Redacted.Redacted | undefined
  /** A profile of `~/.databrickscfg`. */
  readonly profile?: string | undefined
  /** Further settings of the SDK's auth chain, by the name of their variable. */
  readonly environment?: Readonly<Record<string, Redacted.Redacted>> | undefined
}

export interface Credentials extends Pick<Caller, "authorization"> {
  readonly host: string
}

export const resolve = Effect.fnUntraced(function* (
  options: CredentialOptions
): Effect.fn.Return<Credentials, ServiceContextError> {
  const env = Object.fromEntries(
    Object.entries(options.environment ?? {}).map(([name, value]) => [name, Redacted.value(value)])
  )
  if ((options.clientId ?? env["DATABRICKS_CLIENT_ID"]) !== undefined) {
    if ((options.clientSecret ?? env["DATABRICKS_CLIENT_SECRET"]) === undefined) {
      return yield* failed("DATABRICKS_CLIENT_ID is set and DATABRICKS_CLIENT_SECRET is not: set both, or neither")
    }
  } else if ((options.clientSecret ?? env["DATABRICKS_CLIENT_SECRET"]) !== undefined) {
    return yield* failed("DATABRICKS_CLIENT_SECRET is set and DATABRICKS_CLIENT_ID is not: set both, or neither")
  }
  const sdk = new SdkConfig({
    env,
    ...defined({
      host: options.host,
      profile: options.profile,
      clientId: options.clientId,
      token: options.token && Redacted.value(options.token),
      clientSecret: options.clientSecret && Redacted.value(options.clientSecret)
    })
  })
  yield* Effect.tryPromise({
    try: () => sdk.ensureResolved(),
    catch: (cause) => failed(`The credentials are not usable: ${sdkSentence(cause)}`)
  })
  const host = yield* parseHost(sdk.host)
  const authorization = Effect.tryPromise({
    try: async () => {
      const headers = new Headers()
      await sdk.authenticate(headers)
      return Redacted.make(headers.get("authorization") ?? "", { label: "authorization" })
    },
    catch: (cause) => {
      const sentence = sdkSentence(cause)
      const code = /\bE[A-Z_]{4,}\b/.exec(sentence)?.[0]
      return code === undefined
        ? databricksError(
            new InvalidCredentialError({ message: `The service principal cannot sign in to ${host}: ${sentence}` })
          )
        : Answer.connection(`the service principal's sign-in at ${host}`, code)
    }
  })
  yield* Effect.mapError(authorization, (error) => failed(startSentence(error)))
  return { host, authorization }
})

const parseHost = (host: string | undefined): Effect.Effect<string, ServiceContextError> => {
  if (host === undefined || host === "") {
    return Effect.fail(
      failed(
        "DATABRICKS_HOST is not set: set it to the workspace's URL or host name, or name a DATABRICKS_CONFIG_PROFILE"
      )
    )
  }
  const url = URL.parse(host.includes("://") ? host : `https://${host}`)
  if (url === null) return Effect.fail(failed(`DATABRICKS_HOST is neither a URL nor a host name: "${host}"`))
  if (url.protocol !== "https:" && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    return Effect.fail(
      failed(`DATABRICKS_HOST must begin with https://, or credentials would travel in the open: "${host}"`)
    )
  }
  return Effect.succeed(url.origin)
}

// The SDK's own sentences are good; those that quote what a token endpoint answered could quote a token.
const sdkSentence = (cause: unknown): string =>
  cause instanceof SdkConfigError
    ? cause.baseMessage.replace(/\{.*/s, "…")
    : cause instanceof Error
      ? cause.message.replace(/\{.*/s, "…")
      : "unknown failure"

const defined = <A extends object>(options: A): { [K in keyof A]: NonNullable<A[K]> } =>
  // The loop drops exactly what the type drops.
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
