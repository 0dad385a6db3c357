/** Checks the settings of Lakebase, the login of the service principal, and its permission to create schemas. */
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import { messageOf } from "../../internal/message.ts"
import * as Lakebase from "../../Lakebase.ts"
import type { Variables } from "./environment.ts"
import type { Checked } from "./examine.ts"
import { failed, type Finding, ok, skipped, warning } from "./finding.ts"

const check = "lakebase"

export const isConfigured = ({ isSet }: Variables) => isSet("PGHOST") || isSet("LAKEBASE_ENDPOINT")

interface Login {
  readonly role: string
  readonly database: string
  readonly mayCreate: boolean
}

export const examine = (variables: Variables): Checked => (isConfigured(variables) ? login : Effect.succeed(absent))

/** Checks the settings only. Valid ones are `otherwise`. */
export const examineSettings = (variables: Variables, otherwise: Finding): Effect.Effect<Finding> =>
  isConfigured(variables)
    ? Effect.match(Lakebase.config, {
        onSuccess: () => otherwise,
        onFailure: (error) => failed(check, messageOf(error))
      })
    : Effect.succeed(absent)

const absent = skipped(
  check,
  "PGHOST and LAKEBASE_ENDPOINT are not set: set both if the application has a database (LAKEBASE_ENDPOINT in app.yaml, PGHOST by the database resource)"
)

const login: Checked = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<Login>`
    SELECT current_user::text AS role, current_database()::text AS database,
      has_database_privilege(current_database(), 'CREATE') AS "mayCreate"`
  const { database, mayCreate, role } = row!
  return [
    ok(check, `logged in to the database "${database}" as "${role}"`),
    mayCreate
      ? ok("schemas", `"${role}" may create schemas`)
      : warning(
          "schemas",
          `"${role}" may not create schemas, so Lakebase.migrate fails if its schema is missing: give the app's database resource the permission "Can connect and create", or run GRANT CREATE ON DATABASE "${database}" TO "${role}"`
        )
  ]
}).pipe(
  Effect.provide(Lakebase.layerConfig({ acquireTimeout: "15 seconds" })),
  Effect.catch((error) => Effect.succeed(failed(check, messageOf(error))))
)
