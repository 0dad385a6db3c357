/**
 * Tripwires: what `@effect/sql-pg` gives to those who have a pool of their own. Where it gives more, a part of
 * `src/internal/lakebase/driver/` may go.
 */
import type { PgClient, PgConnection, PgTypes } from "@effect/sql-pg"
import { typeOf } from "./is.ts"

// Neither the `SqlConnection` of a `PgConnection` nor the commit of one (session.ts, transaction.ts).
declare const exported: keyof typeof PgClient
typeOf(exported).is<
  "PgClient" | "TypeId" | "layer" | "layerConfig" | "layerFrom" | "make" | "makeClient" | "makeCompiler"
>()

// Not whether a transaction is open, nor the columns of a result before its rows (messages.ts).
declare const members: keyof PgConnection.PgConnection
typeOf(members).is<
  PgConnection.TypeId | "config" | "interrupt" | "listen" | "pin" | "processId" | "query" | "queryValues" | "stream"
>()

// No codec for a type that is not known in advance (messages.ts, types.ts).
declare const registry: keyof PgTypes.Registry
typeOf(registry).is<"register">()
