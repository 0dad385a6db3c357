/** A statement from top to bottom: bind → choose the disposition → run → read. */
import { type Context, Duration, Effect, Option, Result, type Scope, Stream } from "effect"
import { DatabricksError, make as databricksError, StatementFailedError } from "../../DatabricksError.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import * as Operation from "../../Operation.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import * as SqlParameter from "../../SqlParameter.ts"
import type { Arrow, Options, SqlWarehouse, Statement, StreamOptions, Table } from "../../SqlWarehouse.ts"
import { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Failed from "../failures/statement.ts"
import { executeStreamAs } from "../operation/span.ts"
import { bound } from "../workspace/bound.ts"
import { ranAs } from "../workspace/transport.ts"
import * as Lists from "./lists.ts"
import { isReadOnly, returnsRows } from "./readOnly.ts"
import * as ArrowResult from "./arrowResult.ts"
import * as Deadline from "./deadline.ts"
import type { Source } from "./links.ts"
import * as Results from "./results.ts"
import * as Statements from "./statements.ts"
import * as Warehouses from "./warehouses.ts"
import type { Answer, Disposition } from "./wire.ts"

type Service = SqlWarehouse["Service"]

/** Fails with this error as that of a statement. */
export const failed = <E extends object>(error: E, { parameters = {}, text }: Statement) =>
  Failed.failed(error, text, Object.keys(parameters).length)

/** Makes the service, which runs statements as the caller of the fiber. */
export const make = Effect.fnUntraced(function* (
  defaults: Operation.Policy
): Effect.fn.Return<Service, never, ServiceContext | WorkspaceClient | Scope.Scope> {
  const service = yield* ServiceContext
  const client = yield* WorkspaceClient
  const warehouses = yield* Warehouses.make(client.send)
  const statements = yield* Statements.make(client.send, warehouses.isStarting)
  const large = makeLarge()

  /** Applies the option `timeout` to work that says when its statement has ended. */
  const limited = <A, E, R>(
    name: string,
    timeout: Operation.Policy["timeout"],
    { warehouseId = Option.getOrUndefined(service.warehouseId) }: StreamOptions,
    work: (ended: () => void) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | DatabricksError | Operation.OperationTimeoutError, R | ServiceContext> =>
    timeout === undefined || warehouseId === undefined
      ? work(() => {})
      : Deadline.within(warehouses, { name, warehouseId, duration: Duration.fromInputUnsafe(timeout) }, work)

  const execute = ({ parameters, text }: Statement, options: Options = {}) =>
    Effect.suspend(() => {
      const { cache, catalog, rowLimit, schema } = options
      const { retry, timeout, totalTimeout } = Operation.merge(defaults, options)
      const expanded = Lists.expand({ parameters, text })
      const bound = SqlParameter.bind(expanded.parameters ?? {})
      const attributes = attributesOf(text, options)
      const collect = (disposition: Disposition, ended: () => void) =>
        run(expanded.text, bound, options, { disposition, retry }).pipe(
          Effect.tap(() => Effect.sync(ended)),
          Effect.flatMap(({ collected, result }) => Effect.map(collected, (rows): Table => ({ ...result, rows }))),
          Effect.tap(({ rows, truncated }) => tell(rows.length, truncated))
        )
      const justReads = isReadOnly(text)
      // Inline takes the fewest round trips, but a result that is too large for it needs a second run. Statements that
      // may both write and return many rows are therefore never inline.
      const collected = (ended: () => void) =>
        large.has(text) || (!justReads && returnsRows(text))
          ? collect("EXTERNAL_LINKS", ended)
          : Effect.catchIf(collect("INLINE", ended), isTooLarge, (error) => {
              if (!justReads) return Effect.fail(notAgain(error))
              large.add(text)
              return collect("EXTERNAL_LINKS", ended)
            })
      // Made by a call that the cache does not answer.
      const work = Effect.suspend(() =>
        Effect.catch(limited("sql.query", timeout, options, collected), (error) => failed(error, { text, parameters }))
      )
      const isKept = cache !== undefined && justReads
      return Operation.execute(cache === undefined || isKept ? work : Effect.andThen(warnOf(text), work), {
        name: "sql.query",
        attributes: withLimit(attributes, timeout),
        totalTimeout,
        // Retries are not the operation's, because a statement that has an id must not start twice.
        cache:
          isKept && Result.isSuccess(bound)
            ? { ...cache, key: [attributes["warehouse.id"], catalog, schema, rowLimit, expanded.text, bound.success] }
            : undefined
      })
      // Also checked before the cache is read.
    }).pipe(bound(service.principal), Effect.provideService(ServiceContext, service))

  const executeStream: Service["executeStream"] = ({ parameters, text }, options = {}) =>
    Stream.suspend(() => {
      const { retry, timeout } = Operation.merge(defaults, options)
      const expanded = Lists.expand({ parameters, text })
      const bound = SqlParameter.bind(expanded.parameters ?? {})
      const started = limited("sql.stream", timeout, options, () =>
        run(expanded.text, bound, options, { disposition: "EXTERNAL_LINKS", retry })
      )
      let count = 0
      return Stream.unwrap(
        Effect.map(started, ({ read, result }) =>
          read(Results.read).pipe(
            Stream.map((rows) => {
              count += rows.length
              return { ...result, rows }
            }),
            Stream.onEnd(Effect.suspend(() => tell(count, result.truncated)))
          )
        )
      ).pipe(
        Stream.catch((error) => Stream.fromEffect(failed(error, { text, parameters }))),
        Operation.executeStream({ name: "sql.stream", attributes: withLimit(attributesOf(text, options), timeout) })
      )
    }).pipe(Stream.provideService(ServiceContext, service))

  const executeArrow: Service["executeArrow"] = ({ parameters, text }, options = {}) =>
    Effect.suspend(() => {
      const { retry, timeout } = Operation.merge(defaults, options)
      const attributes = attributesOf(text, options)
      const expanded = Lists.expand({ parameters, text })
      const start = { disposition: "EXTERNAL_LINKS", format: "ARROW_STREAM", retry } as const
      const started = limited("sql.arrow", timeout, options, () =>
        run(expanded.text, SqlParameter.bind(expanded.parameters ?? {}), options, start)
      )
      return Effect.contextWith((context: Context.Context<ServiceContext>) =>
        Effect.map(started, ({ read, result }): Arrow => {
          const body = Stream.catch(read(ArrowResult.read), (error) =>
            Stream.fromEffect(failed(error, { text, parameters }))
          )
          const operation = {
            name: "sql.arrow.body",
            attributes: { ...attributes, "statement.id": result.statementId }
          }
          return {
            ...result,
            body: executeStreamAs(body, ExecutionContext.callerOf(context), context, operation)
          }
        })
      ).pipe(
        Effect.catch((error) => failed(error, { text, parameters })),
        Operation.execute({ name: "sql.arrow", attributes: withLimit(attributes, timeout) })
      )
    }).pipe(bound(service.principal), Effect.provideService(ServiceContext, service))

  const ready: Service["ready"] = ({ timeout = Warehouses.startTimeout, warehouseId } = {}) => {
    const limit = Duration.fromInputUnsafe(timeout)
    return Stream.unwrap(
      Effect.gen(function* () {
        const caller = yield* ExecutionContext.current
        const id = warehouseId ?? (yield* ExecutionContext.getWarehouseId)
        yield* Effect.annotateCurrentSpan("warehouse.id", id)
        return Stream.mapError(warehouses.untilRunning(caller, id), ranAs(caller))
      })
    ).pipe(
      Stream.interruptWhen(Effect.andThen(Effect.sleep(limit), Operation.timedOut("sql.ready", limit))),
      Operation.executeStream({ name: "sql.ready" }),
      Stream.provideService(ServiceContext, service)
    )
  }

  /** Runs a statement to its end; `read` reads its result. */
  const run = Effect.fnUntraced(function* (
    text: string,
    bound: ReturnType<typeof SqlParameter.bind>,
    { catalog, onProgress, rowLimit, schema, warehouseId }: StreamOptions,
    start: Pick<Statements.RunOptions, "disposition" | "format" | "retry">
  ) {
    const caller = yield* ExecutionContext.current
    const order = {
      statement: text,
      warehouse_id: warehouseId ?? (yield* ExecutionContext.getWarehouseId),
      catalog,
      schema,
      row_limit: rowLimit,
      parameters: yield* Effect.fromResult(bound)
    }
    const answer = yield* Effect.mapError(statements.run(caller, order, { ...start, onProgress }), ranAs(caller))
    const { manifest, statement_id: statementId } = answer
    const truncated = manifest?.truncated ?? false
    if (truncated && rowLimit === undefined)
      yield* Effect.logWarning(
        `The warehouse truncated the result of the statement ${statementId}: ask for fewer rows, or set rowLimit`
      )
    const ask = (index: number) => statements.chunk(caller, statementId, index)
    const source = { host: service.host, fetch: client.fetch, ask }
    const read = <A>(reader: (source: Source, answer: Answer) => Stream.Stream<A, DatabricksError>) =>
      Stream.mapError(reader(source, answer), ranAs(caller))
    const collected = Effect.mapError(Results.collect(source, answer), ranAs(caller))
    return { result: { statementId, columns: manifest?.schema.columns ?? [], truncated }, collected, read }
  })

  const attributesOf = (text: string, { warehouseId = Option.getOrUndefined(service.warehouseId) }: StreamOptions) => ({
    "db.system.name": "databricks",
    "db.query.text": text,
    "warehouse.id": warehouseId
  })

  // The compiler cannot see that options without `cache` require no cache.
  return { execute: execute as Service["execute"], executeStream, executeArrow, ready }
})

// The limit is not the operation's: it leaves out the start of the warehouse.
const withLimit = (attributes: Operation.SpanOptions["attributes"], timeout: Operation.Policy["timeout"]) => ({
  ...attributes,
  timeout_ms: timeout === undefined ? undefined : Duration.toMillis(timeout)
})

const tell = (rows: number, truncated: boolean) =>
  Effect.annotateCurrentSpan({ "db.response.returned_rows": rows, "db.response.truncated": truncated })

const warnOf = (text: string) =>
  Effect.annotateLogs(
    Effect.logWarning(
      "The result of this statement is not cached, because the statement may write: remove the option `cache`, or, if it only reads, cache it with Operation.execute"
    ),
    { "db.query.text": text }
  )

/** The last 256 texts whose result was too large to come inline. */
const makeLarge = () => {
  const texts = new Set<string>()
  return {
    has: (text: string) => texts.has(text),
    add: (text: string) => {
      texts.add(text)
      const [oldest] = texts
      if (texts.size > 256 && oldest !== undefined) texts.delete(oldest)
    }
  }
}

interface TooLarge extends DatabricksError {
  readonly reason: StatementFailedError
}

const isTooLarge = (error: unknown): error is TooLarge =>
  error instanceof DatabricksError &&
  error.reason._tag === "StatementFailedError" &&
  error.reason.message.includes(Statements.inlineLimit)

const notAgain = ({ reason }: TooLarge) =>
  databricksError(
    new StatementFailedError({
      ...reason,
      message: `${reason.message} It ran and may have written, so it is not run again: use SqlWarehouse.stream for a result of this size`
    })
  )
