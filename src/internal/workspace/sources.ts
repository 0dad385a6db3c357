/** Finds the settings of a start in their sources: options first, then the environment and a profile. */
import { type Config, Effect, Redacted } from "effect"
import type { Options } from "../../ServiceContext.ts"
import { type Attribute, attributes as ofSdk } from "./attributes.ts"
import * as Host from "./host.ts"
import * as Profile from "./profile.ts"
import { refused } from "./settings.ts"

// The SDK's own sign-in has no scopes.
const attributes: ReadonlyArray<Attribute> = [
  ...ofSdk,
  { name: "scopes", envVar: "DATABRICKS_SCOPES", confName: "scopes", auth: undefined }
]

export const variables: ReadonlyArray<string> = attributes.flatMap(({ envVar }) => envVar ?? [])

export interface Source {
  readonly kind: "option" | "environment" | "profile"
  /** The trimmed values by the SDK's names; blank ones are absent. */
  readonly values: Readonly<Record<string, string>>
  /** Names a setting in a sentence. */
  readonly called: (name: string) => string
  /** The origin of its host, if it has one. */
  readonly origin: string | undefined
}

export interface Settings {
  readonly address: Host.Address
  readonly workspaceId: string | undefined
  /** The source of the credential, if one is set. */
  readonly credential: Source | undefined
  /** The selected auth type, and the name of its setting. */
  readonly authType: { readonly value: string; readonly called: string } | undefined
  readonly scopes: ReadonlyArray<string>
  /** All settings by the SDK's names, without the host. */
  readonly values: Readonly<Record<string, string>>
}

const isCredential = (name: string) => attributes.some((_) => _.name === name && _.auth !== undefined)

/** Returns the SDK's names of a source's credentials. */
export const credentialsIn = ({ values }: Source): ReadonlyArray<string> => Object.keys(values).filter(isCredential)

/** Returns the ways to sign in for which a source has credentials. */
export const authTypesIn = (source: Source): ReadonlySet<string | undefined> =>
  new Set(attributes.filter(({ auth, name }) => auth !== undefined && name in source.values).map(({ auth }) => auth))

/** Finds the settings in the options, then in the environment of the process. */
export const find = Effect.fnUntraced(function* (
  options: Options,
  ambient: Options["environment"] = {}
): Effect.fn.Return<Settings, Config.ConfigError> {
  const sources = yield* sourcesOf(options, ambient)
  const home = sources.find((_) => _.origin !== undefined)
  if (home === undefined) {
    const profile = sources.find((_) => _.kind === "profile")
    return yield* refused(
      profile === undefined
        ? "DATABRICKS_HOST is not set: set it to the workspace's URL or host name, or name a DATABRICKS_CONFIG_PROFILE"
        : `DATABRICKS_HOST is not set, and neither is ${profile.called("host")}: add it there`
    )
  }
  const address = yield* Host.parse(home.values["host"]!, capitalized(home.called("host")))
  const credential = sources.find((_) => credentialsIn(_).length > 0)
  if (credential !== undefined) yield* belong(credential, home)
  // The settings of a source with another host do not apply to this one.
  const related = sources.filter((_) => _.origin === undefined || _.origin === address.origin)
  const first = (name: string, among = related) => among.find((_) => name in _.values)
  // The environment selects among the credentials of a profile, but not among those of the options.
  const judges = credential === undefined ? related : related.slice(0, related.indexOf(credential) + 1)
  const authType = credential?.kind === "option" ? undefined : first("authType", judges)
  const values: Record<string, string> = {}
  for (const { auth, name } of attributes) {
    const value = auth === undefined ? first(name)?.values[name] : credential?.values[name]
    if (value !== undefined && name !== "host" && name !== "authType") values[name] = value
  }
  return {
    address,
    workspaceId: yield* workspaceIdOf(options, address, first("workspaceId")),
    credential,
    authType: authType && { value: authType.values["authType"]!, called: authType.called("authType") },
    scopes: yield* scopesOf(options, first("scopes")),
    values
  }
})

const sourcesOf = Effect.fnUntraced(function* (
  options: Options,
  ambient: Options["environment"]
): Effect.fn.Return<ReadonlyArray<Source>, Config.ConfigError> {
  const { clientId, clientSecret, host, token } = options
  const secrets = Object.entries({ token, clientId, clientSecret })
  const blank = secrets.find(([, value]) => value !== undefined && plain(value) === "")
  // Ignoring it could mean running as another principal.
  if (blank !== undefined) return yield* refused(`The option ${blank[0]} is blank: omit it, or set a value`)
  const own = source("option", (name) => `the option ${name}`, { host, token, clientId, clientSecret })
  const variables = [options.environment, ambient].map((variables) =>
    source(
      "environment",
      (name) => attributes.find((_) => _.name === name)?.envVar ?? name,
      Object.fromEntries(attributes.map(({ envVar, name }) => [name, variables?.[envVar ?? ""]]))
    )
  )
  const variable = (name: string) => variables.find((_) => name in _.values)?.values[name]
  const chosen = plain(options.profile ?? "") || undefined
  const isComplete = own.origin !== undefined && credentialsIn(own).length > 0
  const named = chosen ?? (isComplete ? undefined : variable("profile"))
  const isSet = ({ origin, values }: Source) => origin !== undefined || "authType" in values
  if (named === undefined && [own, ...variables].some((_) => isSet(_) || credentialsIn(_).length > 0)) {
    return [own, ...variables]
  }
  const found = yield* Profile.read({ name: named, file: variable("configFile") })
  if (found === undefined) return [own, ...variables]
  const confName = (name: string) => attributes.find((_) => _.name === name)?.confName ?? name
  const profile = source("profile", (name) => `the ${confName(name)} of the profile "${found.name}" in ${found.file}`, {
    ...Object.fromEntries(attributes.map(({ name }) => [name, found.values[confName(name)]])),
    profile: found.name
  })
  return chosen === undefined ? [own, ...variables, profile] : [own, profile, ...variables]
})

const plain = (value: string | Redacted.Redacted) => (typeof value === "string" ? value : Redacted.value(value)).trim()

const source = (
  kind: Source["kind"],
  called: Source["called"],
  given: Readonly<Record<string, string | Redacted.Redacted | undefined>>
): Source => {
  const values = Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) =>
      value === undefined || plain(value) === "" ? [] : [[name, plain(value)]]
    )
  )
  return { kind, called, values, origin: values["host"] === undefined ? undefined : Host.originOf(values["host"]) }
}

/** Fails if a credential was set for another host. */
const belong = (credential: Source, home: Source): Effect.Effect<void, Config.ConfigError> => {
  const secret = credential.called(credentialsIn(credential)[0]!)
  const host = capitalized(home.called("host"))
  if (credential.origin !== undefined && credential.origin !== home.origin) {
    return refused(
      `${host} is ${home.origin}, and ${secret} is for ${credential.origin}: take host and credentials from one place`
    )
  }
  const isStray =
    credential.kind === "profile"
      ? home.kind !== "profile" && credential.origin === undefined
      : credential.kind === "environment" && home.kind === "profile" && credentialsIn(home).length > 0
  return isStray
    ? refused(`${host} is set, and ${secret} is set without a host: take host and credentials from one place`)
    : Effect.void
}

/** Capitalizes the name of a setting for the start of a sentence. */
export const capitalized = (text: string) => text.replace(/^the/, "The")

const workspaceIdOf = (options: Options, { workspaceId }: Host.Address, source: Source | undefined) => {
  const own = plain(options.workspaceId ?? "")
  const id = own || source?.values["workspaceId"]
  const called = own === "" ? (source?.called("workspaceId") ?? "") : "the option workspaceId"
  if (id !== undefined && !/^\d+$/.test(id)) {
    return refused(`${capitalized(called)} is not a workspace id, which is a number: "${id}"`)
  }
  return own === "" && id !== undefined && workspaceId !== undefined && id !== workspaceId
    ? refused(`${capitalized(called)} is ${id}, and the host has ?o=${workspaceId}: keep one`)
    : Effect.succeed(own || (workspaceId ?? id))
}

const scopesOf = (options: Options, source: Source | undefined) => {
  const scopes = options.scopes ?? source?.values["scopes"]?.split(/[\s,]+/).filter(Boolean) ?? []
  const wrong = scopes.find((scope) => !/^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope))
  const called = options.scopes === undefined ? (source?.called("scopes") ?? "") : "the option scopes"
  return wrong === undefined
    ? Effect.succeed(scopes.length === 0 ? ["all-apis"] : scopes)
    : refused(`${capitalized(called)} contains a value that is not an OAuth scope: ${JSON.stringify(wrong)}`)
}
