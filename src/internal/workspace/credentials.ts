/** The service principal's credentials, by the SDK's own auth chain. */
import { Config as SdkConfig, ConfigError as SdkConfigError } from "@databricks/sdk-experimental/dist/config/Config.js"
import { type Config, Effect, Redacted } from "effect"
import type { HttpClient } from "effect/http"
import type { Caller } from "../../Caller.ts"
import { InvalidCredentialError, make as databricksError } from "../../DatabricksError.ts"
import * as Answer from "./answer.ts"
import * as Host from "./host.ts"
import * as ClientCredentials from "./oauth.ts"
import type { Options, ServiceContextError } from "../../ServiceContext.ts"
import { defined, refused } from "./settings.ts"
import { failed } from "./startError.ts"

export interface Credentials extends Pick<Caller, "authorization"> {
  readonly host: string
  /** Where the credentials were found: what to check when they are refused. */
  readonly source: string
}

export const resolve = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  options: Options
): Effect.fn.Return<Credentials, ServiceContextError | Config.ConfigError> {
  const env = Object.fromEntries(
    Object.entries(options.environment ?? {}).map(([name, value]) => [name, Redacted.value(value)])
  )
  const given = options.host ?? env["DATABRICKS_HOST"]
  const sdk = new SdkConfig({
    env,
    ...defined({
      host: given === undefined ? undefined : yield* Host.parse(given),
      profile: options.profile,
      clientId: options.clientId,
      token: options.token && Redacted.value(options.token),
      clientSecret: options.clientSecret && Redacted.value(options.clientSecret)
    })
  })
  const cause = yield* Effect.promise(() => sdk.ensureResolved().catch((cause: unknown) => cause))
  const configured = Array.from(sdk.attributes).filter((_) => _.auth !== undefined && !_.isUndefined())
  const source = configured.map((_) => _.envVar ?? _.name).join(", ")
  if (cause instanceof SdkConfigError) {
    return yield* refused(
      new Set(configured.map((_) => _.auth)).size > 1
        ? `There is more than one way to sign in (${source}): keep one, or choose with DATABRICKS_AUTH_TYPE`
        : `${sdkSentence(cause).replace(/^resolve: /, "")}: check DATABRICKS_CONFIG_PROFILE and DATABRICKS_CONFIG_FILE`
    )
  }
  if (sdk.host === undefined) {
    return yield* refused(
      sdk.profile === undefined
        ? "DATABRICKS_HOST is not set: set it to the workspace's URL or host name, or name a DATABRICKS_CONFIG_PROFILE"
        : `DATABRICKS_HOST is not set, and the profile "${sdk.profile}" gives no host: check ${sdk.configFile ?? "~/.databrickscfg"}`
    )
  }
  const host = yield* Host.parse(sdk.host, `The host of the profile "${sdk.profile ?? "DEFAULT"}"`)
  const { clientId, clientSecret } = sdk
  if ((clientId === undefined) !== (clientSecret === undefined)) {
    const [set, missing] = clientId === undefined ? ["SECRET", "ID"] : ["ID", "SECRET"]
    return yield* refused(
      `DATABRICKS_CLIENT_${set} is set and DATABRICKS_CLIENT_${missing} is not: set both, or neither`
    )
  }
  if ((sdk.authType ?? "oauth-m2m") === "oauth-m2m" && clientId !== undefined && clientSecret !== undefined) {
    const client = { id: clientId, secret: Redacted.make(clientSecret) }
    return { host, source, authorization: yield* ClientCredentials.authorization(http, host, client) }
  }
  const authorization = bySdk(sdk)
  yield* Effect.catch(authorization, (error): Effect.Effect<never, ServiceContextError | Config.ConfigError> =>
    configured.length === 0 && sdk.authType === undefined
      ? refused(
          "There is nothing to sign in with: set DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE"
        )
      : Effect.fail(failed(error.message))
  )
  return { host, source, authorization }
})

const bySdk = (sdk: SdkConfig): Caller["authorization"] => {
  const signIn = async () => {
    const headers = new Headers()
    await sdk.authenticate(headers)
    return Redacted.make(headers.get("authorization") ?? "", { label: "authorization" })
  }
  let flight: Promise<Redacted.Redacted> | undefined
  return Effect.tryPromise({
    // Whoever comes while a token is being fetched waits for that one: the SDK would fetch another.
    try: () =>
      (flight ??= signIn().finally(() => {
        flight = undefined
      })),
    catch: (cause) =>
      cause instanceof Error && "code" in cause && typeof cause.code === "string"
        ? Answer.connection("the service principal's sign-in", cause.code)
        : databricksError(
            new InvalidCredentialError({ message: `The service principal cannot sign in: ${sdkSentence(cause)}` })
          )
  })
}

// The SDK's own sentences are good; those that quote what a token endpoint answered could quote a token.
const sdkSentence = (cause: unknown): string => {
  if (cause instanceof SdkConfigError) return withoutQuotes(cause.baseMessage)
  // It would quote the credential.
  if (cause instanceof TypeError) return "its credential holds a character that no header can carry"
  return cause instanceof Error ? withoutQuotes(cause.message) : "unknown failure"
}

const withoutQuotes = (sentence: string) => sentence.replace(/\{.*/s, "…")
