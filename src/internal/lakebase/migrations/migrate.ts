/** Runs migrations: lock → schema → records → changed scripts → each pending script with its record. */
import { Effect, type FileSystem } from "effect"
import { Migrator, SqlClient, type SqlError } from "effect/sql"
import { asService } from "../../../ExecutionContext.ts"
import type { Lakebase, MigrateError, Migrations } from "../../../Lakebase.ts"
import * as Bounds from "../../bounds.ts"
import { codeOf } from "../failure.ts"
import { order, read, refused, type Script, shown } from "./scripts.ts"
import type { Statement } from "./statements.ts"

export type Options = { readonly schema: string } & (
  | { readonly directory: string }
  | { readonly scripts: Readonly<Record<string, string>> }
)

export const migrate = Effect.fnUntraced(function* (
  lakebase: Lakebase["Service"],
  options: Options
): Effect.fn.Return<Migrations, MigrateError, FileSystem.FileSystem> {
  yield* Bounds.check("Lakebase.migrate", options, {
    // Postgres reserves pg_ and truncates longer names.
    schema: Bounds.text(/^(?!pg_)[a-z_][a-z0-9_]{0,62}$/, "a name of lower-case letters, digits and _, 63 at most")
  })
  const files =
    "directory" in options
      ? yield* read(options.directory)
      : Object.entries(options.scripts).map(([name, text]) => [name, name, text] as const)
  return yield* run(lakebase, options.schema, yield* order(files))
})

/** Runs the pending scripts as the service principal. */
const run = (
  { client: sql, pgConfig: { database, user: role } }: Lakebase["Service"],
  schema: string,
  scripts: ReadonlyArray<Script>
): Effect.Effect<Migrations, Migrator.MigrationError | SqlError.SqlError> => {
  // The table's name is Effect's default; the column checksum is added here.
  const table = `${schema}.effect_sql_migrations`
  const failed = (error: SqlError.SqlError, message: string) =>
    new Migrator.MigrationError({ kind: "Failed", cause: error, message })

  /** Runs an effect in a transaction that holds the schema's lock. */
  const locked = <A, E>(effect: Effect.Effect<A, E, SqlClient.SqlClient>) =>
    Effect.gen(function* () {
      const key = sql`hashtextextended(${`effect-databricks/migrate/${schema}`}, 0)`
      const [free] = yield* sql<{ got: boolean }>`SELECT pg_try_advisory_xact_lock(${key}) AS got`
      if (free?.got !== true) {
        yield* Effect.logInfo(`Waiting for another process that migrates the schema ${schema}`)
        // The other process may take longer than the timeouts of this role.
        const limit = (statement: string, lock: string) =>
          sql`SELECT set_config('statement_timeout', ${statement}, true), set_config('lock_timeout', ${lock}, true)`
        const [before] = yield* sql<{ statement: string; lock: string }>`
          SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock`
        yield* limit("0", "0")
        yield* sql`SELECT pg_advisory_xact_lock(${key})`
        if (before !== undefined) yield* limit(before.statement, before.lock)
      }
      yield* sql`SELECT set_config('search_path', quote_ident(${schema}), true)`
      return yield* Effect.provideService(effect, SqlClient.SqlClient, sql)
    }).pipe(sql.withTransaction)

  const ensureSchema = Effect.gen(function* () {
    const [found] = yield* sql<{ owner: string; isOurs: boolean; columns: ReadonlyArray<string> }>`
      SELECT pg_get_userbyid(nspowner) AS owner, pg_has_role(nspowner, 'USAGE') AS "isOurs",
        ARRAY(SELECT column_name::text FROM information_schema.columns
          WHERE table_schema = nspname AND table_name = 'effect_sql_migrations') AS columns
      FROM pg_namespace WHERE nspname = ${schema}`
    if (found === undefined) {
      yield* Effect.mapError(sql`CREATE SCHEMA ${sql(schema)}`, (error) =>
        codeOf(error) === "42501"
          ? failed(
              error,
              `The role "${role}" may not create the schema "${schema}": give the app's database resource the permission "Can connect and create", or run GRANT CREATE ON DATABASE "${database}" TO "${role}"`
            )
          : error
      )
    } else if (!found.isOurs) {
      return yield* refused(
        `The schema "${schema}" belongs to the role "${found.owner}", and migrations run as "${role}": run ALTER SCHEMA "${schema}" OWNER TO "${role}" (its tables too), or choose another schema`
      )
    }
    const columns = found?.columns ?? []
    if (columns.length === 0) {
      yield* sql`CREATE TABLE ${sql(table)} (
        migration_id integer PRIMARY KEY,
        created_at timestamptz NOT NULL DEFAULT now(),
        name text NOT NULL,
        checksum text
      )`
    } else if (!columns.includes("checksum")) {
      // Effect's own migrator has made the table, and has no checksums.
      yield* sql`ALTER TABLE ${sql(table)} ADD COLUMN checksum text`
    }
  })

  /** Returns the scripts that have not run. Fails if a script that has run was changed, renamed or renumbered. */
  const pending = Effect.gen(function* () {
    const records = yield* sql<{
      id: number
      name: string
      checksum: string | null
    }>`SELECT migration_id AS id, name, checksum FROM ${sql(table)} ORDER BY migration_id`
    const latest = records.at(-1)
    const ran = new Map(records.map((record) => [record.id, record]))
    for (const { checksum, id, name, source } of scripts) {
      const record = ran.get(id)
      if (record === undefined) {
        if (latest !== undefined && id < latest.id) {
          return yield* refused(
            `${source} has not run, but ${latest.id}_${latest.name} has: give it a number above ${latest.id}`
          )
        }
      } else if (record.name !== name) {
        return yield* refused(
          `${source} has the number of "${record.name}", which ran in the schema "${schema}": restore the name, or give it a number above ${latest?.id}`
        )
      } else if (record.checksum !== checksum && record.checksum !== null) {
        return yield* refused(
          `${source} has changed since it ran in the schema "${schema}": restore it, and write the change as a migration with a number above ${latest?.id}. On a development database, DROP SCHEMA "${schema}" CASCADE runs all of them again`
        )
      }
    }
    return scripts.filter(({ id }) => !ran.has(id))
  })

  const execute = (script: Script, statement: Statement) =>
    Effect.mapError(sql.unsafe(statement.text).unprepared, (error) =>
      failed(error, sentence(script, statement, error, role))
    )

  /** Runs Effect's migrator for one script. It records and runs the script, unless another process has. */
  const migrate = (script: Script) =>
    Migrator.make({})({
      table,
      loader: Effect.succeed([
        [
          script.id,
          script.name,
          Effect.succeed(
            Effect.andThen(
              Effect.forEach(script.statements, (statement) => execute(script, statement), { discard: true }),
              sql`UPDATE ${sql(table)} SET checksum = ${script.checksum} WHERE migration_id = ${script.id}`
            )
          )
        ]
      ])
    }).pipe(
      Effect.mapError((error) => (error.cause instanceof Migrator.MigrationError ? error.cause : error)),
      locked,
      Effect.tap((ran) =>
        ran.length === 0 ? Effect.void : Effect.logInfo(`${script.source} ran in the schema ${schema}`)
      )
    )

  return locked(Effect.andThen(ensureSchema, pending)).pipe(
    Effect.flatMap(Effect.forEach(migrate)),
    Effect.map((ran): Migrations => ran.flat()),
    asService,
    Effect.withSpan("lakebase.migrate", { attributes: { "db.namespace": `${database}.${schema}` } })
  )
}

const sentence = ({ source }: Script, statement: Statement, error: SqlError.SqlError, role: string) => {
  const { cause } = error.reason
  const said = cause instanceof Error ? cause.message : error.message
  const code = codeOf(error)
  const advice = typeof code === "string" && Object.hasOwn(advices, code) ? `: ${advices[code]}` : ""
  return `${source}:${lineOf(statement, cause)} failed as the role "${role}" (${said}) at ${shown(statement)}${advice}`
}

/** Returns the line of the error's position, or else of the statement. */
const lineOf = ({ line, text }: Statement, cause: unknown) => {
  const position =
    typeof cause === "object" && cause !== null && "position" in cause ? Number(cause.position) : Number.NaN
  // The position counts code points, not UTF-16 units.
  return Number.isNaN(position)
    ? line
    : line +
        Array.from(text)
          .slice(0, position - 1)
          .filter((character) => character === "\n").length
}

const advices: Readonly<Record<string, string>> = {
  "25001":
    "each migration runs in one transaction. Leave CONCURRENTLY out, or run the statement by hand as this role and write it here with IF NOT EXISTS and without CONCURRENTLY",
  "42501": "the role lacks this privilege: let the owner of the object GRANT it",
  "55P04": "a value that is added to an enum cannot be used in the same migration: use it in the next one"
}
