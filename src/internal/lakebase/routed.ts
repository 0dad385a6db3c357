/** Statements that run as an operation each time. */
import { type Effect, Effectable, Stream } from "effect"
import type { SqlConnection, SqlError, Statement } from "effect/sql"
import { mistakeIn } from "./rows.ts"

/** One of the ways in which a statement runs: on a connection, or as Effect runs it, in a span of its own. */
export interface Way<A> {
  readonly on: (
    connection: SqlConnection.Connection,
    sql: string,
    params: ReadonlyArray<unknown>
  ) => Effect.Effect<A, SqlError.SqlError>
  readonly inSpan: (statement: Statement.Statement<unknown>) => Effect.Effect<A, SqlError.SqlError>
}

type Rows = ReadonlyArray<unknown>

const rows: Way<Rows> = {
  on: (connection, sql, params) => connection.execute(sql, params, undefined),
  inSpan: (statement) => statement
}
const rowsUnprepared: Way<Rows> = {
  on: (connection, sql, params) => connection.executeUnprepared(sql, params, undefined),
  inSpan: (statement) => statement.unprepared
}
const raw: Way<unknown> = {
  on: (connection, sql, params) => connection.executeRaw(sql, params),
  inSpan: (statement) => statement.raw
}
const values: Way<ReadonlyArray<Rows>> = {
  on: (connection, sql, params) => connection.executeValues(sql, params),
  inSpan: (statement) => statement.values
}
const valuesUnprepared: Way<ReadonlyArray<Rows>> = {
  on: (connection, sql, params) => connection.executeValuesUnprepared(sql, params),
  inSpan: (statement) => statement.valuesUnprepared
}

/** Where statements run. */
export interface Route {
  readonly query: <A>(statement: Statement.Statement<unknown>, way: Way<A>) => Effect.Effect<A, SqlError.SqlError>
  readonly stream: <A>(stream: Stream.Stream<A, SqlError.SqlError>) => Stream.Stream<A, SqlError.SqlError>
}

/** A statement that runs as an operation each time. */
export class Routed<A> extends Effectable.Class<ReadonlyArray<A>, SqlError.SqlError> implements Statement.Statement<A> {
  readonly "~effect/sql/Statement/Fragment" = "~effect/sql/Statement/Fragment"
  readonly segments: Statement.Statement<A>["segments"]
  readonly statement: Statement.Statement<A>
  readonly route: Route
  constructor(statement: Statement.Statement<A>, route: Route) {
    super()
    this.segments = statement.segments
    this.statement = statement
    this.route = route
  }
  asEffect() {
    return this.query(rows as Way<ReadonlyArray<A>>) // the caller of `sql` names the type of the rows
  }
  get raw() {
    return this.query(raw)
  }
  get values() {
    return this.query(values)
  }
  get valuesUnprepared() {
    return this.query(valuesUnprepared)
  }
  get unprepared() {
    return this.query(rowsUnprepared as Way<ReadonlyArray<A>>) // as above
  }
  // No name is transformed.
  get withoutTransform() {
    return this.asEffect()
  }
  get stream() {
    const wrong = mistakeIn(this.segments)
    return this.route.stream(wrong === undefined ? this.statement.stream : Stream.fail(wrong))
  }
  private query<B>(way: Way<B>) {
    return this.route.query(this.statement, way)
  }
  compile(withoutTransform?: boolean) {
    return this.statement.compile(withoutTransform)
  }
  // Omits the parameters, to keep them out of logs.
  override toJSON() {
    return { _id: "Statement", sql: this.compile()[0] }
  }
}
