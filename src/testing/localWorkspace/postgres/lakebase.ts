/** The Lakebase of the workspace: a Postgres with a role for each principal, which accepts their tokens as passwords. */
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import { type Certificate, database, superuser } from "./cluster.ts"
import { StartError } from "../startError.ts"
import * as Radius from "./radius.ts"
import * as PostgresServer from "./server.ts"
import { type Command, execute, type Login, quoted } from "./session.ts"

const loopback = "127.0.0.1"

const createRole = (role: string) => `CREATE ROLE ${quoted(role)} LOGIN;`

const rolesOf = (directory: Directory, existing: ReadonlyArray<string | null>) =>
  [
    ...[...directory.principals.keys()].filter((role) => !existing.includes(role)).map(createRole),
    `GRANT CREATE ON DATABASE ${quoted(database)} TO ${quoted(directory.service.userName)};`
  ].join("\n")

/** Starts Postgres with the database and a role for each principal of the directory. */
export const start = Effect.fnUntraced(function* (
  directory: Directory,
  options: {
    readonly maxConnections: number
    readonly ssl: Certificate | undefined
    readonly kept: string | undefined
  }
) {
  const secret = randomBytes(16).toString("hex")
  const radius = yield* Radius.listen(secret, directory.mayLogIn)
  const server = yield* PostgresServer.start({
    hba: `host all all ${loopback}/32 radius radiusservers="${loopback}" radiusports="${radius}" radiussecrets="${secret}"\n`,
    ...options
  })
  const { port } = server
  const loginAs = (role: string): Login => ({ port, database, role, password: directory.masterKey })
  const administer = (command: Command | string) => execute(loginAs(superuser), command)
  yield* Effect.mapError(
    Effect.flatMap(administer("SELECT rolname FROM pg_roles"), ({ rows }) =>
      administer(
        rolesOf(
          directory,
          rows.map(([name = null]) => name)
        )
      )
    ),
    (cause) =>
      new StartError({ message: `The local workspace cannot create its roles in Postgres: ${cause.message}`, cause })
  )
  // A session that is logging in is not in this list; it waits for the frozen server.
  const freeze = administer("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").pipe(
    Effect.flatMap(({ rows }) => server.freeze(rows.map(([pid]) => Number(pid))))
  )
  return {
    address: { host: loopback, port, database },
    /** Returns the login of this caller, without a token. */
    loginOf: (caller: Principal) => loginAs(caller.userName),
    administer,
    createRole: (role: string) => administer(createRole(role)),
    server: { ...server, freeze }
  }
})
