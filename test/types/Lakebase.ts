/** What the types of Lakebase promise. */
import type { PgClient } from "@effect/sql-pg"
import {
  asService,
  asUser,
  Lakebase,
  type LakebaseError,
  provideUser,
  type ServiceContext,
  type UserContext,
  type WorkspaceClient
} from "effect-databricks"
import { type Config, Effect, Layer } from "effect"
import type { SqlClient, SqlError } from "effect/sql"
import { typeOf } from "./is.ts"

typeOf(Lakebase.user).is<Effect.Effect<PgClient.PgClient, never, UserContext | Lakebase.Lakebase>>()

const mine = Effect.flatMap(Lakebase.user, (sql) => sql<{ id: number }>`SELECT id FROM orders`)
typeOf(mine).is<Effect.Effect<ReadonlyArray<{ id: number }>, SqlError.SqlError, UserContext | Lakebase.Lakebase>>()

type Services = ServiceContext.ServiceContext | WorkspaceClient.WorkspaceClient
type Clients = Lakebase.Lakebase | PgClient.PgClient | SqlClient.SqlClient
type Configured = Layer.Layer<Clients, Config.ConfigError, Services>
typeOf(Lakebase.layer({ host: "h" })).is<Configured>()
typeOf(Lakebase.layerConfig()).is<Configured>()
typeOf(Lakebase.layerConfig({ maxConnections: 100, port: undefined })).is<Configured>()
// What a signature reaches has a name of its own.
typeOf(Lakebase.pgConfig).is<Effect.Effect<Lakebase.PgConfig, never, Lakebase.Lakebase>>()
declare const stats: Effect.Success<Lakebase.Lakebase["Service"]["stats"]>
typeOf(stats).is<{ readonly service: Lakebase.Stats; readonly users: Lakebase.Stats }>()

// An error is one and the same class, with the driver and without.
typeOf(Lakebase.PoolExhaustedError).is<typeof LakebaseError.PoolExhaustedError>()
typeOf(Lakebase.LoginError).is<typeof LakebaseError.LoginError>()
typeOf(Lakebase.MissingRoleError).is<typeof LakebaseError.MissingRoleError>()

typeOf(Lakebase.config).is<Config.Config<Lakebase.Options>>()

declare const service: Layer.Layer<Services>
const Live = Lakebase.layerConfig().pipe(Layer.provideMerge(service))

void Effect.runPromise(mine.pipe(Effect.provide(asUser({})), Effect.provide(Live)))
void Effect.runPromise(mine.pipe(provideUser({}), Effect.provide(Live)))
void Effect.runPromise(asService(mine).pipe(provideUser({}), Effect.provide(Live)))
// @ts-expect-error -- nobody says who the user is
void Effect.runPromise(mine.pipe(Effect.provide(Live)))
// @ts-expect-error -- the service principal is no user
void Effect.runPromise(asService(mine).pipe(Effect.provide(Live)))
// @ts-expect-error -- a misspelt setting would be none
Lakebase.layerConfig({ maxConnection: 100 })
// @ts-expect-error -- there is no database without a host
Lakebase.layer({})
