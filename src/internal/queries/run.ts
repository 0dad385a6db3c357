/** Runs queries as the identity that their files declare. */
import { Context, Effect, References, type Schema, Stream } from "effect"
import type { Caller } from "../../Caller.ts"
import { asService, ExecutionContext } from "../../ExecutionContext.ts"
import { AuthenticationError } from "../../IdentityError.ts"
import type { Bound, Queries, RunsAs } from "../../Queries.ts"
import { QueryOutdatedError, type QueryParameterError } from "../../QueryError.ts"
import {
  type Options,
  RowDecodeError,
  type SqlWarehouse,
  type Statement,
  type StreamOptions
} from "../../SqlWarehouse.ts"
import { UserContext } from "../../UserContext.ts"
import * as Sql from "../sqlWarehouse/functions.ts"

type Service = SqlWarehouse["Service"]

/** Returns the warehouse as this user, or as the service principal. Spans and cache entries have the name of the query. */
export const warehouseAs = (warehouse: Service, name: string, user: Caller | undefined): Service => {
  const own = user === undefined ? asApp(warehouse) : Sql.runAs(warehouse, user)
  const cached = <O extends Options>(options: O): O => ({ ...options, cache: { name, ...options.cache } })
  const summarized = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
    Stream.unwrap(
      Effect.map(References.TracerSpanAnnotations, (annotations) =>
        Stream.provideService(stream, References.TracerSpanAnnotations, { ...annotations, [summary]: name })
      )
    )
  return {
    ...own,
    execute: (statement, options) =>
      Effect.annotateSpans(
        own.execute(statement, options?.cache === undefined ? options : cached(options)),
        summary,
        name
      ),
    executeStream: (statement, options) => summarized(own.executeStream(statement, options)),
    executeArrow: (statement, options) =>
      Effect.map(Effect.annotateSpans(own.executeArrow(statement, options), summary, name), (arrow) => ({
        ...arrow,
        body: summarized(arrow.body)
      }))
  }
}

const summary = "db.query.summary"

const asApp = (warehouse: Service): Service => ({
  execute: (statement, options) => asService(warehouse.execute(statement, options)),
  // Not Stream.updateContext: it adds to the context of the fiber that pulls, which may be a user's.
  executeStream: (statement, options) =>
    Stream.provideService(warehouse.executeStream(statement, options), ExecutionContext, undefined),
  executeArrow: (statement, options) => asService(warehouse.executeArrow(statement, options)),
  ready: (options) => Stream.provideService(warehouse.ready(options), ExecutionContext, undefined)
})

/** The queries of a warehouse whose rows are decoded by a Schema. */
export const queries = (warehouse: Service) =>
  Sql.queries(Effect.succeed(warehouse), (mismatch) => new RowDecodeError(mismatch))

/** A statement with the Schema of its rows, and the warehouse that runs it as its identity. */
export interface Started {
  readonly rows: Schema.Constraint
  readonly statement: Statement
  readonly warehouse: Service
}

/** Returns the two calls of a query in code: `run` decodes its rows, `stream` does so for a result of any size. */
export const callsOf = <Given, E, R>(started: (given: Given) => Effect.Effect<Started, E, R>) => ({
  run: (given: Given, options?: Options) =>
    Effect.flatMap(started(given), ({ rows, statement: { parameters, text }, warehouse }) =>
      // The types of the query require a cache if the options have one.
      queries(warehouse).queryText(rows, options as {})(text, parameters)
    ),
  stream: (given: Given, options?: StreamOptions) =>
    Stream.unwrap(
      Effect.map(started(given), ({ rows, statement: { parameters, text }, warehouse }) =>
        queries(warehouse).streamText(rows, options)(text, parameters)
      )
    )
})

/** Returns the user of the call, for a query whose key the types do not know. */
export const userOf = (query: string): Effect.Effect<Caller, AuthenticationError> =>
  Effect.contextWith((context: Context.Context<never>) => {
    const user = Context.getOrUndefined(context, UserContext)
    return user === undefined
      ? Effect.fail(
          new AuthenticationError({
            message: `The ${query} runs as the user, and this call has none: put its route under AsUser`
          })
        )
      : Effect.succeed(user)
  })

/**
 * Fails unless the file of a query is as its code expects it. Code names the parameters and a request gives their values:
 * only a wrong value is the request's.
 */
export const matching = (
  bound: ReturnType<Queries["Service"]["bind"]>,
  runsAs: RunsAs
): Effect.Effect<Bound, QueryOutdatedError | QueryParameterError> =>
  Effect.matchEffect(bound, {
    onFailure: (error): Effect.Effect<never, QueryOutdatedError | QueryParameterError> =>
      error._tag === "QueryParameterError" && error.problem === "invalid"
        ? Effect.fail(error)
        : outdated(error.query, error.message),
    onSuccess: (found) => {
      const { key, path, runsAs: declared } = found.definition
      return declared === runsAs
        ? Effect.succeed(found)
        : outdated(key, `The query ${key} runs as the ${runsAs} in code and as the ${declared} in ${path}`)
    }
  })

const outdated = (query: string, reason: string) =>
  Effect.fail(
    new QueryOutdatedError({
      query,
      message: `${reason}: correct the code of the query, or deploy it together with its file`
    })
  )
