import { PgClient } from "@effect/sql-pg"
import { assert, describe, it, layer } from "@effect/vitest"
import { asUser, getWorkspaceClient, Lakebase, Operation, OperationCache, SqlWarehouse } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Context, Effect, Exit, Layer, Redacted, Schema, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { SqlClient } from "effect/sql"
import { lakebase, schema } from "../fixtures/lakebaseClient.ts"
import { alice, bob, requestOf } from "../fixtures/people.ts"
import { serviceContext } from "../fixtures/workspace.ts"
import * as Marks from "./marks.ts"
import { recording } from "./recorder.ts"

describe("Marks.in", () => {
  const secret = "s3cr3t/+m4rk"
  const marks = Marks.make([secret])
  const hidden = Object.defineProperty(new Error("no"), "request", { value: { token: secret } })
  it.for<readonly [what: string, value: unknown]>([
    ["text", `a ${secret}`],
    ["a URI component", encodeURIComponent(secret)],
    ...["", "x", "xy", "xyz"].flatMap((before) => [
      [`base64 at byte ${before.length}`, Buffer.from(before + secret).toString("base64")] as const,
      [`base64url at byte ${before.length}`, Buffer.from(`${before}${secret} after`).toString("base64url")] as const
    ]),
    ["a value deep in a Map", { deep: new Map([["x", [{ y: secret }]]]) }],
    ["a hidden property of an Error", hidden],
    ["the cause of an Error", new Error("outer", { cause: hidden })],
    ["bytes", Buffer.from(`binary \0 ${secret}`)],
    ["a failed Exit", Exit.fail(hidden)]
  ])("finds a secret in %s", ([, value]) => assert.isNotEmpty(marks.in(value)))

  it("finds no secret in a Redacted value or a closure", () => {
    assert.deepStrictEqual(marks.in({ token: Redacted.make(secret), close: () => secret }), [])
  })
})

const me = HttpClientRequest.get("/api/2.0/preview/scim/v2/Me")

/** What goes to the workspace for it, and how. */
const ways = {
  "WorkspaceClient.request": Effect.flatMap(getWorkspaceClient, (client) => client.request(me)),
  "WorkspaceClient.requestJson": Effect.flatMap(getWorkspaceClient, (client) => client.requestJson(me, Schema.Unknown)),
  "WorkspaceClient.use": Effect.flatMap(getWorkspaceClient, (client) => client.use((sdk) => sdk.currentUser.me())),
  "SqlWarehouse.query": SqlWarehouse.query(Schema.Struct({ x: Schema.String }))`SELECT 'a' AS x`,
  // A database of its own, so that its credential is asked for.
  Lakebase: Effect.provide(
    SqlClient.SqlClient.use((sql) => sql`SELECT 1 AS x`),
    Layer.fresh(lakebase({ acquireTimeout: "200 millis" }))
  )
}

/** Every way to be let down, by a workspace that repeats what it was sent too. */
const faults = (token: string): ReadonlyArray<LocalWorkspace.Misbehaviour | undefined> => [
  undefined,
  ...[302, 400, 401, 403, 404, 429, 500, 503].map((status) => ({
    kind: "answer" as const,
    status,
    body: `{"error_code":"NO","message":"It was Bearer ${token}"}`
  })),
  { kind: "answer", status: 403, body: `Invalid scope, required scopes: sql ${token}` },
  { kind: "answer", status: 502, body: `Bearer ${token}` },
  // In JSON, any character may be escaped.
  { kind: "answer", status: 400, body: `{"message":"It was \\u0065${token.slice(1)}"}` },
  { kind: "answer", status: 400, headers: { "x-request-id": token }, body: `{"error_code":"NO"}` },
  { kind: "answer", status: 200, headers: { "content-type": token, "x-request-id": token }, body: "no" },
  { kind: "answer", status: 200, body: `{"${token}` },
  { kind: "answer", status: 200, headers: { "content-type": "text/html" }, body: "<html></html>" },
  { kind: "truncate" },
  { kind: "drop" },
  { kind: "drop", when: "after" },
  { kind: "hang" }
]

/** What a workspace says of a statement that failed, in a 200. */
const failures = (token: string): ReadonlyArray<LocalWorkspace.Misbehaviour> =>
  [
    { error: { message: `It was Bearer ${token}` } },
    { error: { message: `${"x".repeat(3_990)}${token}` } },
    { error: { error_code: `CODE_${token}` } },
    { sql_state: token, error: { message: "no" } }
  ].map((status) => ({
    kind: "answer",
    status: 200,
    body: JSON.stringify({ statement_id: "s", status: { state: "FAILED", ...status } }).replace("eyJ", "\\u0065yJ")
  }))

type Run = Effect.Effect<unknown, unknown, Effect.Services<(typeof ways)[keyof typeof ways]>>

const sql = (
  run: (sql: PgClient.PgClient) => Effect.Effect<unknown, unknown>,
  options: Partial<Lakebase.Options> = {}
) =>
  Effect.provide(
    Effect.flatMap(PgClient.PgClient, run),
    Layer.fresh(lakebase({ acquireTimeout: "300 millis", ...options }))
  )

const pgPassword = "pg-s3cr3t-m4rk"

/** What goes wrong in the database, and on the way to it. */
const database = {
  "a statement has a syntax error": sql((_) => _`SELECT nonsense`),
  "a bound value is invalid": sql((_) => _`SELECT ${"x"}::int`),
  "a constraint is violated": sql((_) =>
    _.withTransaction(_`INSERT INTO notes ${_.insert([{ body: "a" }, { body: "a" }])}`)
  ),
  "a stream of rows fails": sql((_) => Stream.runDrain(_`SELECT 1 / (2 - n) FROM generate_series(1, 3) AS n`.stream)),
  "Postgres kills the connection": sql((_) => _.withTransaction(_`SELECT pg_terminate_backend(pg_backend_pid())`)),
  "a statement times out": sql((_) => Effect.timeout(_`SELECT pg_sleep(60)`, "50 millis")),
  "the pool is exhausted": sql((_) => _.withTransaction(Effect.scoped(Effect.andThen(_.reserve, _.reserve))), {
    maxConnections: 2,
    maxConnectionsPerUser: 1
  }),
  "a statement fails during LISTEN": sql((_) => Effect.scoped(Effect.andThen(_.listen("news"), _`SELECT nonsense`))),
  "the role is another user's": sql((_) => _`SELECT 1`, { user: bob }),
  "the role does not exist": sql((_) => _`SELECT 1`, { user: "nobody" }),
  "a static password is refused": sql((_) => _`SELECT 1`, { endpoint: undefined, password: Redacted.make(pgPassword) }),
  "the endpoint does not exist": sql((_) => _`SELECT 1`, { endpoint: "projects/none" }),
  "the server has no TLS": sql((_) => _`SELECT 1`, { ssl: true }),
  "no server listens at the port": sql((_) => _`SELECT 1`, { port: 1 })
}

const Services = Layer.mergeAll(SqlWarehouse.layer, OperationCache.layer(), lakebase()).pipe(
  Layer.provideMerge(serviceContext())
)

/** Everything at hand in a call, but for the workspace, which is no part of an application. */
const atHand = Effect.map(Effect.context<never>(), Context.omit(LocalWorkspace.LocalWorkspace))

const held = Effect.gen(function* () {
  const { client, clientOf, pgConfig, stats } = yield* Lakebase.Lakebase
  const mine = yield* Lakebase.user
  const inside = yield* mine.withTransaction(Effect.all([atHand, Effect.scoped(mine.reserve), atHand]))
  return { inside, client, clientOf, pgConfig, stats, mine, workspace: yield* getWorkspaceClient }
})

layer(Layer.effectDiscard(schema).pipe(Layer.provideMerge(LocalWorkspace.layer())), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Results, logs, spans, metrics and exports", (it) => {
  // Every token of the local workspace begins with this, those for the database too.
  const tokens = "eyJhbGciOiJIUzI1NiJ9."
  const marks = LocalWorkspace.LocalWorkspace.useSync(({ servicePrincipal }) =>
    Marks.make([tokens, pgPassword, Redacted.value(servicePrincipal.clientSecret)])
  )

  const showsNothing = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
    const { answer, ...recorded } = yield* recording(Effect.provide(Effect.exit(effect), Services))
    assert.isTrue(Exit.isSuccess(answer), String(answer))
    assert.isNotEmpty(recorded.spans)
    assert.deepStrictEqual((yield* marks).in([answer, recorded]), [])
  })

  for (const [way, run] of Object.entries(ways)) {
    it.effect(`hold no secret when ${way} meets faults of the workspace`, () =>
      Effect.gen(function* () {
        const { misbehave } = yield* LocalWorkspace.LocalWorkspace
        const request = yield* requestOf(alice)
        const call = Operation.execute(run as Run, {
          name: way,
          timeout: "100 millis",
          retry: { attempts: 2, delay: 1 }
        })
        const under = Effect.fnUntraced(function* (fault: LocalWorkspace.Misbehaviour | undefined) {
          if (fault !== undefined) yield* misbehave({ ...fault, path: (path) => path.startsWith("/api") })
          return yield* Effect.exit(Effect.provide(call, asUser(request)))
        }, Effect.scoped)
        const proven = Effect.provide(Effect.void, asUser(request))
        yield* showsNothing(Effect.andThen(proven, Effect.forEach(faults(request["x-forwarded-access-token"]!), under)))
      })
    )
  }

  it.effect("hold no secret when a statement fails with an error that repeats the credential", () =>
    Effect.gen(function* () {
      const { misbehave } = yield* LocalWorkspace.LocalWorkspace
      const request = yield* requestOf(alice)
      const ways = [Effect.asVoid(SqlWarehouse.query()`SELECT 1`), Stream.runDrain(SqlWarehouse.stream()`SELECT 1`)]
      yield* showsNothing(
        Effect.forEach(failures(request["x-forwarded-access-token"]!), (fault) =>
          Effect.scoped(
            Effect.andThen(
              misbehave({ ...fault, path: "/api/2.0/sql/statements" }),
              Effect.forEach(ways, (way) => Effect.exit(Effect.provide(way, asUser(request))))
            )
          )
        )
      )
    })
  )

  it.effect("hold no secret when a request is refused for its token or headers", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      const token = request["x-forwarded-access-token"]!
      const refused = [
        { ...request, "x-forwarded-access-token": `${token}x` },
        { ...request, "x-forwarded-access-token": `${token} ` },
        { ...request, "x-forwarded-access-token": `${token},${token}` },
        { ...request, "x-forwarded-access-token": `${token}\r\n` },
        { ...request, "x-forwarded-access-token": token.repeat(200) },
        { ...request, "x-forwarded-email": bob },
        { "x-forwarded-access-token": token },
        yield* LocalWorkspace.LocalWorkspace.use(({ headers }) => headers(alice, { scopes: [] }))
      ]
      yield* showsNothing(
        Effect.forEach(refused, (headers) => Effect.flip(Effect.provide(Effect.void, asUser(headers))))
      )
    })
  )

  for (const [what, run] of Object.entries(database)) {
    it.effect(`hold no secret when ${what}`, () =>
      Effect.gen(function* () {
        const request = yield* requestOf(alice)
        const both = Effect.all([Effect.exit(Effect.provide(run, asUser(request))), Effect.exit(run)])
        // Somebody fails, or nothing has been seen of it.
        yield* showsNothing(Effect.tap(both, (exits) => Effect.sync(() => assert.isTrue(exits.some(Exit.isFailure)))))
      })
    )
  }

  it.effect("hold no secret when a call returns its whole context", () =>
    Effect.gen(function* () {
      const request = yield* requestOf(alice)
      // Whoever is let in does not fail.
      yield* showsNothing(Effect.all([Effect.orDie(Effect.provide(held, asUser(request))), atHand]))
    })
  )
})
