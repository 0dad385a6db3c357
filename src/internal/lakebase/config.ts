/** Reads Lakebase's settings from the variables of Databricks Apps and Postgres tools. */
import { Config, Effect, Option, Redacted } from "effect"
import { readFile } from "node:fs/promises"
import type { Options } from "../../Lakebase.ts"
import * as Bounds from "../bounds.ts"
import { refused } from "../workspace/settings.ts"

const names = [
  "PGHOST",
  "PGPORT",
  "PGDATABASE",
  "PGUSER",
  "PGSSLMODE",
  "PGSSLROOTCERT",
  "PGAPPNAME",
  "LAKEBASE_ENDPOINT",
  "DATABRICKS_CLIENT_ID"
] as const

type Name = (typeof names)[number]

const variables: Config.Config<
  { readonly [N in Name]?: string } & { readonly password: Redacted.Redacted | undefined }
> = Config.all([
  Config.all(names.map((name) => Config.option(Config.String(name)))),
  Config.option(Config.Redacted("PGPASSWORD"))
]).pipe(
  Config.map(([values, password]) => ({
    ...Object.fromEntries(
      values.flatMap((value, index) =>
        Option.isSome(value) && value.value.trim() !== "" ? [[names[index]!, value.value.trim()]] : []
      )
    ),
    password: Option.getOrUndefined(Option.filter(password, (_) => Redacted.value(_) !== ""))
  }))
)

/** Reads the environment with `overrides` on top. A variable with an override is not read. */
export const make = (overrides: Partial<Options> = {}): Config.Config<Options> =>
  Config.mapEffect(
    variables,
    Effect.fnUntraced(function* (env) {
      const host = overrides.host ?? env.PGHOST
      if (host === undefined)
        return yield* refused(
          "PGHOST is not set: set it to the host name of the Lakebase endpoint, as the database resource of an app does"
        )
      return {
        ...overrides,
        host,
        port: overrides.port ?? (yield* portOf(env.PGPORT)),
        database: overrides.database ?? env.PGDATABASE,
        user: overrides.user ?? env.PGUSER ?? env.DATABRICKS_CLIENT_ID,
        applicationName: overrides.applicationName ?? env.PGAPPNAME,
        ...((overrides.endpoint ?? overrides.password)
          ? {}
          : yield* loginOf(env.LAKEBASE_ENDPOINT, env.password, host)),
        ssl: overrides.ssl ?? (yield* sslOf(env.PGSSLMODE ?? "verify-full", env.PGSSLROOTCERT))
      }
    })
  )

const portOf = (text = "5432") => {
  const port = Number(text)
  return Number.isInteger(port) && port >= 1 && port <= 65_535
    ? Effect.succeed(port)
    : refused(`PGPORT is not a port from 1 to 65535: ${text}`)
}

const endpoint = Bounds.text(
  /^projects\/[^/\s]+\/branches\/[^/\s]+\/endpoints\/[^/\s]+$/,
  "of the form projects/…/branches/…/endpoints/…"
)

/** The bounds of the options, from any source. */
const bounds = {
  host: Bounds.text(/^[^\s@]+$/, "a host name"),
  port: Bounds.integer(1, 65_535),
  endpoint,
  maxConnections: Bounds.integer(1),
  maxConnectionsPerUser: Bounds.integer(1),
  maxConnectionsService: Bounds.integer(0),
  idleTimeout: Bounds.duration("moment"),
  maxLifetime: Bounds.duration(),
  acquireTimeout: Bounds.duration()
}

/** Checks the options, and that they have a way to log in. */
export const check = (options: Options): Effect.Effect<void, Config.ConfigError> =>
  Effect.andThen(
    Bounds.check("Lakebase", options, bounds),
    options.endpoint === undefined && options.password === undefined
      ? refused(
          "The option endpoint of Lakebase is not set: set it to projects/…/branches/…/endpoints/…, as LAKEBASE_ENDPOINT has it (a local database uses the option password instead)"
        )
      : Effect.void
  )

/** Returns exactly one way to log in. */
const loginOf = (name: string | undefined, password: Redacted.Redacted | undefined, host: string) => {
  const wanted = name === undefined ? undefined : endpoint(name)
  const provisioned = [name, host].find((_) => /^instance-.+\.database\./i.test(_ ?? ""))
  const advice = provisioned
    ? `${provisioned} is the host of a provisioned database instance, which has no endpoints: create a project of Lakebase Autoscaling, and add its database to the app`
    : 'Take the name that "databricks postgres list-endpoints projects/<project>/branches/<branch>" prints'
  if (wanted !== undefined) return refused(`LAKEBASE_ENDPOINT is not ${wanted}: ${name}. ${advice}`)
  return name === undefined && password === undefined
    ? refused(
        `LAKEBASE_ENDPOINT is not set: set it to projects/…/branches/…/endpoints/… (a local database uses PGPASSWORD instead). ${advice}`
      )
    : Effect.succeed({ endpoint: name, password: name === undefined ? password : undefined })
}

const sslOf = (mode: string, rootCertificate: string | undefined) => {
  switch (mode) {
    case "disable":
      return Effect.succeed(false)
    case "require":
    case "verify-ca":
    case "verify-full":
      return rootCertificate === undefined || rootCertificate === "system"
        ? Effect.succeed(true)
        : Effect.tryPromise(() => readFile(rootCertificate, "utf8")).pipe(
            Effect.map((ca) => ({ ca })),
            Effect.catch(() => refused(`PGSSLROOTCERT names a file that cannot be read: ${rootCertificate}`))
          )
    case "allow":
    case "prefer":
      // These modes fall back to plaintext, and the password is a token.
      return refused(`PGSSLMODE=${mode} may send tokens in plaintext: set require, or disable for a local database`)
    default:
      return refused(`PGSSLMODE is not one of disable, require, verify-ca and verify-full: ${mode}`)
  }
}
