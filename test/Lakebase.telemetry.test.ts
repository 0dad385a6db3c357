import { assert, layer } from "@effect/vitest"
import { asService, Lakebase } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Deferred, Cause, Effect, Exit, Layer, Logger, Metric, Option, Redacted, Stream, type Tracer } from "effect"
import { SqlClient, Statement } from "effect/sql"
import { inspect } from "node:util"
import { eventually } from "./fixtures/eventually.ts"
import { asAlice, asBob, lakebase, schema } from "./fixtures/lakebaseClient.ts"
import { makeRecorder } from "./fixtures/spans.ts"
import { Workspace } from "./fixtures/workspace.ts"

/** Runs `effect`, and returns its spans with their parents' names and its metrics, which start at zero. */
const recorded = <A, E, R>(effect: Effect.Effect<A, E, R>, options: Partial<Lakebase.Options> = {}) =>
  Effect.gen(function* () {
    const { spans, tracer } = makeRecorder()
    const registry = new Map<string, Metric.Metric.Hooks<unknown, unknown> & Metric.Metric.Metadata<unknown, unknown>>()
    const measured = Effect.gen(function* () {
      const exit = yield* Effect.exit(Effect.withTracer(effect, tracer))
      return { exit, metrics: yield* Metric.snapshot }
    })
    const { exit, metrics } = yield* Effect.provide(measured, Layer.fresh(lakebase(options))).pipe(
      Effect.provideService(Metric.MetricRegistry, registry as never) // the shape of its entries is the library's own
    )
    const nameOf = (parent: Option.Option<Tracer.AnySpan>) =>
      Option.isSome(parent) && parent.value._tag === "Span" ? parent.value.name : undefined
    return {
      exit,
      spans: spans
        .map((span) => ({
          // Effect names the span of a statement after its database.
          name: span.name === "databricks_postgres" ? "sql.execute" : span.name,
          operation: span.attributes.get("operation.name"),
          context: span.attributes.get("execution.context"),
          parent: nameOf(span.parent),
          span
        }))
        .filter(({ name }) => /^(plugin|lakebase|sql)\./.test(name)),
      everything: [...spans.map((_) => inspect(_, { depth: 9 })), inspect(exit, { depth: 9 })].join("\n"),
      metrics,
      left: Array.from(registry.values()) as ReadonlyArray<{ readonly id: string }>
    }
  })

const shape = (
  spans: ReadonlyArray<{ name: string; operation: unknown; context: unknown; parent: string | undefined }>
) =>
  spans.map(({ context, name, operation, parent }) =>
    name === "plugin.execute" ? `${name} ${operation} ${context}` : `${name} < ${parent}`
  )

const sql = SqlClient.SqlClient
const select = Effect.flatMap(sql, (sql) => sql`SELECT ${"hush"}::text`)

layer(Layer.effectDiscard(schema).pipe(Layer.provideMerge(Workspace)), {
  timeout: "60 seconds",
  excludeTestServices: true
})("Lakebase", (it) => {
  it.effect("records a statement as one span of the operation, with the connection and the token inside", () =>
    Effect.gen(function* () {
      const { spans } = yield* recorded(asAlice(Effect.andThen(select, select)))
      assert.deepStrictEqual(shape(spans), [
        "plugin.execute lakebase.query user",
        "lakebase.connect < plugin.execute",
        "lakebase.token.refresh < lakebase.connect",
        "plugin.execute lakebase.query user"
      ])
      const { attributes, kind } = spans[0]!.span
      assert.match(String(attributes.get("caller.id")), /^\d+@\d+$/)
      assert.strictEqual(attributes.get("enduser.id"), String(attributes.get("caller.id")).split("@")[0])
      assert.strictEqual(kind, "client")
      const { postgres } = yield* LocalWorkspace.LocalWorkspace
      assert.deepInclude(Object.fromEntries(attributes), {
        "db.system.name": "postgresql",
        "db.namespace": postgres.database,
        "db.query.text": "SELECT $1::text",
        "server.address": postgres.host,
        "server.port": postgres.port
      })
      assert.isAtLeast(Number(attributes.get("db.client.connection.wait_time_ms")), 0)
    })
  )

  it.effect("runs a statement as the application's transformer has changed it, in each of its ways", () =>
    Effect.gen(function* () {
      const transformed = Effect.provideService(
        Effect.flatMap(sql, (sql) => {
          const statement = sql`SELECT 1 AS n`
          return Effect.all([statement, statement.values, statement.raw, statement.unprepared])
        }),
        Statement.CurrentTransformer,
        (_, sql) => Effect.succeed(sql`SELECT 2 AS n`)
      )
      const { exit, spans } = yield* recorded(asAlice(transformed))
      assert.isTrue(Exit.isSuccess(exit), String(exit))
      const [rows, values, raw, unprepared] = Exit.isSuccess(exit) ? exit.value : []
      assert.deepStrictEqual([rows, values, unprepared], [[{ n: 2 }], [[2]], [{ n: 2 }]])
      assert.deepInclude(raw, { rows: [{ n: 2 }] })
      assert.strictEqual(spans.filter(({ name }) => name === "sql.execute").length, 4)
    })
  )

  it.effect("records a transaction as one operation, and a user's statement in it as another", () =>
    Effect.gen(function* () {
      const run = Effect.flatMap(sql, (sql) =>
        sql.withTransaction(
          Effect.all([select, sql.withTransaction(select), asAlice(select), Stream.runDrain(sql`SELECT 1`.stream)])
        )
      )
      const { exit, spans } = yield* recorded(run)
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(
        shape(spans).filter((_) => !_.startsWith("lakebase.")),
        [
          "plugin.execute lakebase.transaction service",
          "sql.transaction < plugin.execute",
          "sql.execute < sql.transaction",
          "sql.transaction < sql.transaction",
          "sql.execute < sql.transaction",
          "plugin.execute lakebase.query user",
          "sql.execute < sql.transaction"
        ]
      )
      for (const { span } of spans) assert.strictEqual(span.status._tag, "Ended", span.name)
    })
  )

  it.effect("records a stream as one operation from its first row to its last", () =>
    Effect.gen(function* () {
      const rows = Stream.unwrap(Effect.map(sql, (sql) => sql`SELECT * FROM generate_series(1, 3)`.stream))
      const { spans } = yield* recorded(asAlice(Stream.runDrain(rows)))
      assert.deepStrictEqual(shape(spans), [
        "plugin.execute lakebase.stream user",
        "sql.execute < plugin.execute",
        "lakebase.connect < plugin.execute",
        "lakebase.token.refresh < lakebase.connect"
      ])
      for (const { span } of spans) assert.strictEqual(span.status._tag, "Ended", span.name)
    })
  )

  it.effect("records calls through Lakebase.user as the user's, also when the service runs", () =>
    Effect.gen(function* () {
      const run = Effect.flatMap(Lakebase.user, (sql) =>
        Effect.all([sql`SELECT 1`, sql.withTransaction(sql`SELECT 1`), Stream.runDrain(sql`SELECT 1`.stream)])
      ).pipe(asService, asAlice)
      const { spans } = yield* recorded(run)
      assert.deepStrictEqual(
        shape(spans).filter((_) => _.startsWith("plugin.")),
        ["lakebase.query", "lakebase.transaction", "lakebase.stream"].map((_) => `plugin.execute ${_} user`)
      )
    })
  )

  it.effect("counts statements, tokens and connections by execution context alone", () =>
    Effect.gen(function* () {
      const run = Effect.flatMap(sql, (sql) =>
        Effect.all([
          select,
          asAlice(select),
          asAlice(sql.withTransaction(select)),
          asBob(select),
          Effect.ignore(asAlice(sql`SELEC`))
        ])
      )
      const { left, metrics } = yield* recorded(run)
      const ours = metrics.filter((_) => _.id.startsWith("lakebase."))
      const of = (id: string, context: string) => {
        const found = ours.filter((_) => _.id === id && _.attributes?.["execution.context"] === context)
        assert.strictEqual(found.length, 1, `${id} ${context}`)
        return found[0]!.state
      }
      assert.deepInclude(of("lakebase.query.duration", "service"), { count: 1 })
      assert.deepInclude(of("lakebase.query.duration", "user"), { count: 4 })
      assert.deepInclude(of("lakebase.token.refresh.duration", "service"), { count: 1 })
      assert.deepInclude(of("lakebase.token.refresh.duration", "user"), { count: 2 })
      assert.deepInclude(of("lakebase.pool.connections.total", "service"), { value: 1 })
      assert.deepInclude(of("lakebase.pool.connections.total", "user"), { value: 2 })
      assert.deepInclude(of("lakebase.pool.connections.idle", "user"), { value: 2 })
      assert.deepInclude(of("lakebase.pool.connections.waiting", "user"), { value: 0 })
      assert.deepInclude(of("lakebase.pool.evictions", "user"), { count: 0 })
      assert.deepInclude(of("lakebase.pool.exhaustions", "user"), { count: 0 })
      for (const { attributes } of ours) {
        assert.deepStrictEqual(
          Object.keys(attributes ?? {}).filter((_) => _ !== "unit"),
          ["execution.context"]
        )
      }
      // A pool that has ended is in no metric.
      assert.deepStrictEqual(
        left.map((_) => _.id).filter((_) => _.startsWith("lakebase.pool.")),
        []
      )
    })
  )

  it.effect("counts waiting calls, evictions and exhaustions", () =>
    Effect.gen(function* () {
      const limits = { maxConnections: 2, maxConnectionsService: 1 } as const
      const evicted = yield* recorded(Effect.andThen(asAlice(select), asBob(select)), limits)
      const count = (metrics: ReadonlyArray<Metric.Metric.Snapshot>, id: string) =>
        metrics.filter((_) => _.id === id && _.attributes?.["execution.context"] === "user").map((_) => _.state)
      assert.deepInclude(count(evicted.metrics, "lakebase.pool.evictions")[0], { count: 1 })

      // Alice's transaction holds the only connection of users until bob has given up.
      const inVain = yield* recorded(
        Effect.flatMap(sql, (client) =>
          asAlice(client.withTransaction(Effect.all([Effect.flip(asBob(select)), Metric.snapshot])))
        ),
        // Alice's own login may take this long on a busy machine.
        { ...limits, acquireTimeout: "4 seconds" }
      )
      assert.deepInclude(count(inVain.metrics, "lakebase.pool.exhaustions")[0], { count: 1 })
      const waiting = yield* recorded(
        Effect.gen(function* () {
          const begun = yield* Deferred.make<void>()
          const waits = Effect.map(Metric.snapshot, (_) => count(_, "lakebase.pool.connections.waiting")[0])
          const seen = eventually(Effect.map(waits, (_) => _ !== undefined && "value" in _ && _.value === 1))
          const { withTransaction } = yield* sql
          yield* Effect.all(
            [
              asAlice(withTransaction(Effect.andThen(Deferred.succeed(begun, undefined), seen))),
              Effect.andThen(Deferred.await(begun), asBob(select))
            ],
            { concurrency: 2 }
          )
        }),
        limits
      )
      assert.isTrue(Exit.isSuccess(waiting.exit), String(waiting.exit))
    })
  )

  it.effect("shows no parameter value and no token in spans, errors or logs", () =>
    Effect.gen(function* () {
      const value = "4711-hush"
      const logged: Array<string> = []
      const run = Effect.gen(function* () {
        const client = yield* sql
        const insert = client`INSERT INTO notes ${client.insert({ body: value })}`
        yield* insert
        const errors = [
          insert,
          client`SELECT ${value}::text::int`,
          client`SELECT ${value}::text::int`.values,
          Stream.runDrain(client`SELECT ${value}::text::int`.stream),
          client.withTransaction(insert),
          client`SELEC ${value}`,
          client`SELECT * FROM nowhere WHERE a = ${value}`
        ]
        for (const error of errors) {
          const exit = yield* Effect.exit(error)
          assert.isTrue(Exit.isFailure(exit))
          if (Exit.isFailure(exit)) {
            yield* Effect.logError(exit.cause)
            logged.push(Cause.pretty(exit.cause), inspect(exit.cause, { depth: 9 }), JSON.stringify(exit.cause))
          }
        }
        yield* Effect.log(insert)
        logged.push(JSON.stringify(insert))
      }).pipe(
        Effect.provide(
          Logger.layer([
            Logger.make((entry) => logged.push(Logger.formatJson.log(entry), Logger.formatLogFmt.log(entry)))
          ])
        )
      )
      const { everything, exit } = yield* recorded(asAlice(run))
      assert.isTrue(Exit.isSuccess(exit), String(exit))
      const all = [everything, ...logged].join("\n")
      assert.isAbove(all.length, 10_000)
      assert.notInclude(all, value)
      const { requests } = yield* LocalWorkspace.LocalWorkspace
      for (const { token } of yield* requests) {
        if (token !== undefined) assert.notInclude(all, Redacted.value(token))
      }
    })
  )
})
