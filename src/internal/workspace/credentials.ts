/** The service principal's credentials: OAuth for machines by our own code, all others by the SDK's auth chain. */
import type * as Sdk from "@databricks/sdk-experimental/dist/config/Config.js"
import { type Config, Effect, Redacted } from "effect"
import type { HttpClient } from "effect/http"
import { execFile } from "node:child_process"
import { InvalidCredentialError, make as databricksError } from "../../DatabricksError.ts"
import type { ServiceContextError } from "../../ServiceContext.ts"
import * as Answer from "./answer.ts"
import * as ClientCredentials from "./oauth.ts"
import type { Renewable } from "./renewal.ts"
import { authTypesIn, capitalized, credentialsIn, type Settings } from "./sources.ts"
import { refused } from "./settings.ts"
import { failed } from "./startError.ts"

export interface Credentials extends Renewable {
  /** The variables or profile with the credentials, to check when they are refused. */
  readonly source: string
}

/** The SDK's ways to sign in, with the settings that each needs. */
const needs: Readonly<Record<string, string>> = {
  pat: "DATABRICKS_TOKEN",
  "oauth-m2m": "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET",
  basic: "DATABRICKS_USERNAME and DATABRICKS_PASSWORD",
  "databricks-cli": 'the Databricks CLI, signed in with "databricks auth login"',
  "metadata-service": "DATABRICKS_METADATA_SERVICE_URL",
  "azure-cli": 'the Azure CLI, signed in with "az login", and a host of Azure',
  "azure-client-secret": "ARM_CLIENT_ID, ARM_CLIENT_SECRET and ARM_TENANT_ID, and a host of Azure",
  "azure-msi": "ARM_USE_MSI, and a host of Azure",
  "google-credentials": "GOOGLE_CREDENTIALS, and a host of Google Cloud",
  "google-id": "DATABRICKS_GOOGLE_SERVICE_ACCOUNT, and a host of Google Cloud"
}

export const resolve = Effect.fnUntraced(function* (
  http: HttpClient.HttpClient,
  { address, authType, credential, scopes, values }: Settings
): Effect.fn.Return<Credentials, ServiceContextError | Config.ConfigError> {
  const named = credential === undefined ? [] : credentialsIn(credential).map(credential.called)
  const source = named.length > 0 ? named.join(", ") : (authType?.called ?? "the Databricks CLI")
  if (authType !== undefined && !Object.hasOwn(needs, authType.value)) {
    return yield* refused(
      `${capitalized(authType.called)} is not one of ${Object.keys(needs).join(", ")}: ${JSON.stringify(authType.value)}`
    )
  }
  if (credential !== undefined && authType === undefined && authTypesIn(credential).size > 1) {
    return yield* refused(
      `There is more than one way to sign in (${source}): keep one, or choose with DATABRICKS_AUTH_TYPE`
    )
  }
  const { clientId, clientSecret, token } = values
  if (credential !== undefined && (clientId === undefined) !== (clientSecret === undefined)) {
    const [set, missing] = clientId === undefined ? ["clientSecret", "clientId"] : ["clientId", "clientSecret"]
    return yield* refused(
      `${capitalized(credential.called(set))} is set and ${credential.called(missing)} is not: set both, or neither`
    )
  }
  // Checked here, because the HTTP client's error would quote the token.
  if (credential !== undefined && token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    return yield* refused(
      `${capitalized(credential.called("token"))} contains a character that is not allowed in a header: a space, a line break or a letter outside ASCII`
    )
  }
  if ((authType?.value ?? "oauth-m2m") === "oauth-m2m" && clientId !== undefined && clientSecret !== undefined) {
    const client = { id: clientId, secret: Redacted.make(clientSecret), scopes }
    return { source, ...(yield* ClientCredentials.credential(http, address.origin, client)) }
  }
  // Loaded here, because it has the libraries of every cloud.
  const sdk = yield* Effect.promise(() => import("@databricks/sdk-experimental/dist/config/Config.js"))
  // No loaders and no environment, so that it uses these settings only.
  const make = () =>
    Object.assign(new sdk.Config({ host: address.origin, loaders: [], env: {} }), values, { authType: authType?.value })
  const found = bySdk(sdk, make)
  yield* Effect.catch(found.authorization, (error): Effect.Effect<never, ServiceContextError | Config.ConfigError> =>
    !error.message.includes(foundNothing)
      ? Effect.fail(failed(error.message))
      : credential === undefined || authType !== undefined
        ? Effect.flatMap(unable(values["databricksCliPath"], authType), refused)
        : refused(`${source} is not enough to sign in: set the variables that belong with it`)
  )
  return { source, ...found }
})

const foundNothing = "cannot configure default credentials"

/** Returns the reason for which the SDK found no way to sign in. */
const unable = Effect.fnUntraced(function* (path: string | undefined, authType: Settings["authType"]) {
  const isCli = authType?.value === "databricks-cli"
  const isGone = (isCli || path !== undefined) && (yield* isMissing(path ?? "databricks"))
  const cli = `the Databricks CLI was not found (${path ?? "no databricks on PATH"}): install it, or set DATABRICKS_CLI_PATH`
  if (authType === undefined) {
    const nothing =
      "No credentials are configured: set DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE"
    return isGone ? `${nothing}; ${cli}` : nothing
  }
  return `${capitalized(authType.called)} is ${authType.value}, ${isGone ? `and ${cli}` : `which needs ${needs[authType.value]}`}`
})

const isMissing = (command: string) =>
  Effect.callback<boolean>((resume) => {
    execFile(command, ["version"], (error) => resume(Effect.succeed(typeof error?.code === "string")))
  })

const bySdk = ({ ConfigError }: typeof Sdk, make: () => Sdk.Config): Renewable => {
  let chain = make()
  let latest: string | undefined
  const signIn = async () => {
    const headers = new Headers()
    await chain.authenticate(headers)
    latest = headers.get("authorization") ?? ""
    return Redacted.make(latest, { label: "authorization" })
  }
  // Uses the SDK's messages, except those that quote a token endpoint's response, which could contain a token.
  const sentence = (cause: unknown): string => {
    if (cause instanceof ConfigError) return withoutQuotes(cause.baseMessage)
    // The message would quote the credential.
    if (cause instanceof TypeError) return "its credential contains a character that is not allowed in a header"
    return cause instanceof Error ? withoutQuotes(cause.message) : "unknown failure"
  }
  let flight: Promise<Redacted.Redacted> | undefined
  const authorization = Effect.tryPromise({
    // Calls share the sign-in that is in flight, where the SDK would start another.
    try: () =>
      (flight ??= signIn().finally(() => {
        flight = undefined
      })),
    catch: (cause) =>
      cause instanceof Error && "code" in cause && typeof cause.code === "string"
        ? Answer.connection("the service principal's sign-in", cause.code)
        : databricksError(
            new InvalidCredentialError({ message: `The service principal cannot sign in: ${sentence(cause)}` })
          )
  })
  // The SDK keeps a refused token until it expires: only a new chain requests another.
  const forget = (refused: Redacted.Redacted) =>
    Effect.sync(() => {
      if (latest !== Redacted.value(refused)) return
      latest = undefined
      chain = make()
    })
  return { authorization, forget }
}

const withoutQuotes = (sentence: string) => sentence.replace(/\{.*/s, "…")
