/** Lakebase's settings as Databricks Apps and Postgres tools write them into the environment. */
import { Config, Effect, Option, Redacted } from "effect"
import { readFile } from "node:fs/promises"
import type { Options } from "../../Lakebase.ts"
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

/** The environment with `overrides` on top: a variable in whose place one is given is not looked at. */
export const make = (overrides: Partial<Options> = {}): Config.Config<Options> =>
  Config.mapEffect(
    variables,
    Effect.fnUntraced(function* (env) {
      const host = overrides.host ?? env.PGHOST
      if (host === undefined) return yield* refused("PGHOST is not set: it is the host name of the Lakebase endpoint")
      return {
        ...overrides,
        host,
        port: overrides.port ?? (yield* portOf(env.PGPORT)),
        database: overrides.database ?? env.PGDATABASE,
        user: overrides.user ?? env.PGUSER ?? env.DATABRICKS_CLIENT_ID,
        applicationName: overrides.applicationName ?? env.PGAPPNAME,
        ...((overrides.endpoint ?? overrides.password) ? {} : yield* loginOf(env.LAKEBASE_ENDPOINT, env.password)),
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

/** One way to log in, never two. */
const loginOf = (endpoint: string | undefined, password: Redacted.Redacted | undefined) =>
  endpoint === undefined && password === undefined
    ? refused(
        "LAKEBASE_ENDPOINT is not set: it is projects/…/branches/…/endpoints/… (a local database takes PGPASSWORD instead)"
      )
    : Effect.succeed({ endpoint, password: endpoint === undefined ? password : undefined })

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
      // They fall back to plaintext, and the password is a token.
      return refused(`PGSSLMODE=${mode} may send tokens in plaintext: set require, or disable for a local database`)
    default:
      return refused(`PGSSLMODE is not one of disable, require, verify-ca and verify-full: ${mode}`)
  }
}
