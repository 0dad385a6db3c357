/** The Lakebase of the workspace: a Postgres with a role for everybody, which takes their tokens as passwords. */
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import { type Certificate, database, superuser } from "./cluster.ts"
import { StartError } from "../startError.ts"
import * as Radius from "./radius.ts"
import * as PostgresServer from "./server.ts"
import { execute, type Login, quoted } from "./session.ts"

const loopback = "127.0.0.1"

const rolesOf = (directory: Directory) =>
  [
    ...[...directory.principals.keys()].map((role) => `CREATE ROLE ${quoted(role)} LOGIN;`),
    `GRANT CREATE ON DATABASE ${quoted(database)} TO ${quoted(directory.service.userName)};`
  ].join("\n")

/** Starts Postgres with the database and a role for everybody in the directory. */
export const start = Effect.fnUntraced(function* (
  directory: Directory,
  options: { readonly maxConnections: number; readonly ssl: Certificate | undefined }
) {
  const secret = randomBytes(16).toString("hex")
  const radius = yield* Radius.listen(secret, directory.mayLogIn)
  const server = yield* PostgresServer.start({
    hba: `host all all ${loopback}/32 radius radiusservers="${loopback}" radiusports="${radius}" radiussecrets="${secret}"\n`,
    ...options
  })
  const { port } = server
  const loginAs = (role: string): Login => ({ port, database, role, password: directory.masterKey })
  const administer = (script: string) => execute(loginAs(superuser), script)
  yield* Effect.mapError(
    administer(rolesOf(directory)),
    (cause) => new StartError({ message: `Postgres has no roles: ${cause.message}`, cause })
  )
  // Who is being let in at this moment is missed, and waits with the others for the server itself.
  const freeze = administer("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").pipe(
    Effect.flatMap(({ rows }) => server.freeze(rows.map(([pid]) => Number(pid))))
  )
  return {
    address: { host: loopback, port, database },
    /** Logs in as this caller, without a token of theirs. */
    loginOf: (caller: Principal) => loginAs(caller.userName),
    administer,
    server: { ...server, freeze }
  }
})
