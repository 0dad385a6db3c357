/** Checks the runtime and the variables, without a request. */
import { Config, Effect, Option, Redacted } from "effect"
import { variables as ofWorkspace } from "../../internal/workspace/sources.ts"
import { failed, type Finding, ok, warning } from "./finding.ts"

/** Reports the runtime; `main.ts` refuses an older Node. */
export const runtime: Effect.Effect<Finding> = Effect.sync(() => {
  const { bun, node } = process.versions
  return bun === undefined
    ? ok("runtime", `Node ${node}`)
    : warning(
        "runtime",
        `Bun ${bun}: Databricks Apps runs Node, and this library is not tested on Bun. Run the check on Node`
      )
})

const others = [
  "NODE_ENV",
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "NODE_EXTRA_CA_CERTS",
  "DATABRICKS_APP_NAME",
  "DATABRICKS_APP_PORT",
  "PGHOST",
  "PGPORT",
  "PGDATABASE",
  "PGUSER",
  "PGPASSWORD",
  "PGSSLMODE",
  "PGSSLROOTCERT",
  "LAKEBASE_ENDPOINT",
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_EXPORTER_OTLP_PROTOCOL",
  "OTEL_SDK_DISABLED"
] as const

type Other = (typeof others)[number]

/** Reads the variables that are set and not blank. Each may be a secret. */
export const variables = Effect.map(
  Effect.forEach(new Set([...ofWorkspace, "DATABRICKS_WORKSPACE_ID", "DATABRICKS_WAREHOUSE_ID", ...others]), (name) =>
    Effect.map(Config.option(Config.Redacted(name)), (value) => [name, value] as const)
  ),
  (all) => {
    const set = new Map(
      all.flatMap(([name, value]) =>
        Option.isSome(value) && Redacted.value(value.value).trim() !== "" ? [[name, value.value] as const] : []
      )
    )
    return {
      names: [...set.keys()].toSorted(),
      /** Returns the value of a variable that is not a secret. */
      valueOf: (name: Exclude<Other, "PGPASSWORD">) => {
        const value = set.get(name)
        return value && Redacted.value(value).trim()
      },
      isSet: (name: Other) => set.has(name)
    }
  }
)

export type Variables = Effect.Success<typeof variables>

/** Reports the names of the variables, and contradictions between them. */
export const examine = ({ isSet, names, valueOf }: Variables): ReadonlyArray<Finding> => {
  const port = valueOf("DATABRICKS_APP_PORT")
  const check = "variables"
  return [
    names.length === 0
      ? failed(check, "No variable of Databricks Apps is set: run the check where the application starts")
      : ok(check, names.join(", ")),
    ...(port !== undefined && !(/^\d+$/.test(port) && Number(port) <= 65_535)
      ? [failed(check, `DATABRICKS_APP_PORT is not a port: ${port}. Set it to a number from 0 to 65535, or unset it`)]
      : []),
    ...(valueOf("NODE_ENV") === "development" && isSet("DATABRICKS_APP_NAME")
      ? [
          warning(
            check,
            "NODE_ENV is development in a Databricks App: a request without a token runs as the app. Unset NODE_ENV"
          )
        ]
      : []),
    ...(valueOf("NODE_TLS_REJECT_UNAUTHORIZED") === "0"
      ? [
          failed(
            check,
            "NODE_TLS_REJECT_UNAUTHORIZED is 0: the network can read tokens. Unset it, and set NODE_EXTRA_CA_CERTS to the certificate of your authority"
          )
        ]
      : []),
    ...(isSet("LAKEBASE_ENDPOINT") && isSet("PGPASSWORD")
      ? [warning(check, "LAKEBASE_ENDPOINT and PGPASSWORD are set, and PGPASSWORD is not used: unset one of them")]
      : [])
  ]
}
