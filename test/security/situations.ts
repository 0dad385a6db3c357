/** Who may run something, how they come to, and whom the other side saw. */
import {
  asService,
  asUser,
  getWorkspaceClient,
  type IdentityError,
  provideUser,
  type ServiceContext,
  type WorkspaceClient
} from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Layer, Redacted } from "effect"
import { HttpClientRequest } from "effect/http"
import { SqlClient } from "effect/sql"
import { alice, bob, requestOf } from "../fixtures/people.ts"

export type User = "alice" | "bob"
export type Who = User | "service"

/** From the outside to the inside: who runs is the last of them. */
export type Situation = ReadonlyArray<Who>

/** Their requests; each sends one token, and no other is theirs. */
export class People extends Context.Service<People, Readonly<Record<User, Readonly<Record<string, string>>>>>()(
  "test/People"
) {
  static readonly layer = Layer.effect(People, Effect.all({ alice: requestOf(alice), bob: requestOf(bob) }))
}

/** Runs an effect in a situation; there are two ways to become a user, and they take turns. */
export const within = <A, E, R>(situation: Situation, effect: Effect.Effect<A, E, R>) =>
  situation.reduceRight<Effect.Effect<A, E | IdentityError.IdentityError, R | ServiceContext.ServiceContext | People>>(
    (inner, who, index) =>
      who === "service"
        ? asService(inner)
        : People.use((people) =>
            index % 2 === 0 ? Effect.provide(inner, asUser(people[who])) : provideUser(inner, people[who])
          ),
    effect
  )

let probes = 0

/** Makes a request to a path that nobody else asks for, and says whose token was on it. */
export const sending = <E, R>(prefix: string, send: (path: string) => Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    const path = `${prefix}${++probes}`
    yield* Effect.exit(send(path))
    const { requests, servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
    const people = yield* People
    const seen = (yield* requests).filter((_) => _.path === path)
    const names = seen.map(({ token, user }) => {
      const sent = token && Redacted.value(token)
      if (sent === people.alice["x-forwarded-access-token"]) return "alice"
      if (sent === people.bob["x-forwarded-access-token"]) return "bob"
      return user === servicePrincipal.clientId ? "service" : `a stray token of ${user}`
    })
    return names.length === 1 ? names[0]! : `${names.length} requests: ${names.join()}`
  })

export const wireThrough = (client: WorkspaceClient.WorkspaceClient["Service"]) =>
  sending("/api/2.0/probe/", (path) => client.request(HttpClientRequest.get(path)))

export const nameOf = (role: string | undefined): string =>
  role === alice
    ? "alice"
    : role === bob
      ? "bob"
      : role !== undefined && /^[\da-f-]{36}$/.test(role)
        ? "service"
        : `${role}`

export const databaseThrough = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ who: string }>`SELECT current_user AS who`, ([row]) => nameOf(row?.who))

export const wire = Effect.flatMap(getWorkspaceClient, wireThrough)
export const database = Effect.flatMap(SqlClient.SqlClient, databaseThrough)

/** Whom the workspace sees, and whom Postgres. */
export const both = Effect.all([wire, database])
