import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { type Certificate, database, superuser } from "./cluster.ts"
import * as PostgresServer from "./server.ts"
import { execute, quoted } from "./session.ts"
import type { Directory } from "../identity/principals.ts"
import * as RadiusResponder from "./radius.ts"

const LOOPBACK = "127.0.0.1"

const rolesOf = (directory: Directory) =>
  [
    ...[...directory.principals.keys()].map((role) => `CREATE ROLE ${quoted(role)} LOGIN;`),
    `GRANT CREATE ON DATABASE ${quoted(database)} TO ${quoted(directory.service.userName)};`
  ].join("\n")

/** Starts Postgres with the database and a role for everybody in the directory. */
export const start = (
  directory: Directory,
  options: { readonly maxConnections: number; readonly ssl: Certificate | undefined }
) =>
  Effect.gen(function* () {
    const secret = randomBytes(16).toString("hex")
    const radius = yield* RadiusResponder.listen(secret, (role, password) => directory.mayLogIn(role, password))
    const server = yield* PostgresServer.start({
      hba: `host all all ${LOOPBACK}/32 radius radiusservers="${LOOPBACK}" radiusports="${radius}" radiussecrets="${secret}"\n`,
      ...options
    })
    const { port } = server
    const administer = (script: string) =>
      execute({ port, database, role: superuser, password: directory.masterKey }, script)
    yield* administer(rolesOf(directory))
    // Who is being let in at this moment is missed, and waits with the others for the server itself.
    const freeze = administer("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").pipe(
      Effect.flatMap(({ rows }) => server.freeze(rows.map(([pid]) => Number(pid))))
    )
    return { port, administer, server: { ...server, freeze } }
  })
