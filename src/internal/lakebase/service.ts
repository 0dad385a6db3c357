/** The service `Lakebase`: check the options → log in → open the pools → route statements to them. */
import { Duration, Effect, Redacted } from "effect"
import type { Options } from "../../Lakebase.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Client from "./client.ts"
import * as Environment from "./config.ts"
import * as Login from "./login.ts"
import * as Sessions from "./sessions.ts"

export const make = Effect.fnUntraced(function* (options: Options) {
  yield* Environment.check(options)
  const { principal } = yield* ServiceContext
  const { send } = yield* WorkspaceClient
  const { host, port = 5432, database = "databricks_postgres", ssl = true } = options
  const { applicationName = "effect-databricks" } = options
  const acquireTimeout = Duration.fromInputUnsafe(options.acquireTimeout ?? "10 seconds")
  const target = { host, port, database, ssl, applicationName }
  const login = yield* Login.make(target, { ...options, acquireTimeout }, send)
  const sessions = yield* Sessions.make(
    {
      maxConnections: options.maxConnections ?? 50,
      maxConnectionsPerUser: options.maxConnectionsPerUser ?? 3,
      maxConnectionsService: options.maxConnectionsService,
      idleTimeout: Duration.fromInputUnsafe(options.idleTimeout ?? "30 seconds"),
      maxLifetime: Duration.fromInputUnsafe(options.maxLifetime ?? "1 hour"),
      acquireTimeout
    },
    login.open
  )
  const clientOf = yield* Client.make(sessions, target, principal)
  const runPromise = Effect.runPromiseWith(yield* Effect.context<never>())
  return {
    client: clientOf(),
    clientOf,
    stats: sessions.stats,
    pgConfig: {
      host,
      port,
      database,
      ssl,
      application_name: applicationName,
      options: Login.startupOptions,
      user: login.roleOf(principal),
      password: () => runPromise(Effect.map(login.passwordOf(principal), Redacted.value))
    }
  }
})
