/**
 * Questions to Genie spaces. The module's service runs as the caller of the fiber, that of `user` always as the user.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Genie, GenieMessage } from "effect-databricks"
 *
 * const Sale = Schema.Struct({ region: Schema.String, amount: Schema.Number })
 *
 * // As the user: without `asUser` it does not compile.
 * export const sales = Effect.gen(function* () {
 *   const genie = yield* Genie.user
 *   const message = yield* genie.answer("01ef00000000000000000000000000aa", "What did each region sell?")
 *   const [query] = GenieMessage.queriesOf(message)
 *   return query && (yield* genie.rows(query)(Sale))
 * })
 * ```
 *
 * @since 0.1.0
 */
import { Context, type Duration, Effect, Layer, type Schema, type Stream } from "effect"
import type { DatabricksError } from "./DatabricksError.ts"
import type { Event, Message, MessageFailedError, MessageRef, Query, Rating } from "./GenieMessage.ts"
import * as Client from "./internal/genie/client.ts"
import type * as Operation from "./Operation.ts"
import { ServiceContext } from "./ServiceContext.ts"
import type { Column, Row, RowDecodeError, Table } from "./SqlWarehouse.ts"
import { UserContext } from "./UserContext.ts"
import { WorkspaceClient } from "./WorkspaceClient.ts"

/**
 * The options of a message that is watched.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchOptions {
  /**
   * Time limit until the message has ended. Defaults to 10 minutes. It interrupts the request or wait under way; Genie
   * goes on, and `watch` finds the message again.
   */
  readonly totalTimeout?: Duration.Input | undefined
}

/**
 * The options of a question.
 *
 * @since 0.1.0
 * @category models
 */
export interface AskOptions extends WatchOptions {
  /** The conversation to go on with. Defaults to a new one. */
  readonly conversationId?: string | undefined
  /**
   * Retries of a question that the workspace refused before it ran (429, 503, no connection). Defaults to 3 attempts
   * within 30 seconds; `false` switches them off. A question that may have reached Genie is never sent again. Polls are
   * always retried for up to 5 minutes.
   */
  readonly retry?: Operation.Retry | false | undefined
}

/**
 * The options of a page of a conversation.
 *
 * @since 0.1.0
 * @category models
 */
export interface PageOptions extends Operation.Policy {
  /** The number of messages in a page. Defaults to the workspace's choice. */
  readonly pageSize?: number | undefined
  /** The `nextPageToken` of the page before. Defaults to the first page. */
  readonly pageToken?: string | undefined
}

/**
 * The options of a conversation. `timeout` and `retry` apply to each page.
 *
 * @since 0.1.0
 * @category models
 */
export interface HistoryOptions extends Omit<PageOptions, "pageToken" | "totalTimeout"> {}

/**
 * A page of a conversation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Page {
  /** The messages in the workspace's order, newest first. May be empty before the last page. */
  readonly messages: ReadonlyArray<Message>
  /** The token of the next page; absent on the last. */
  readonly nextPageToken: string | undefined
}

/**
 * The options of a result.
 *
 * @since 0.1.0
 * @category models
 */
export interface RowsOptions {
  /** Time limit until the last row is read. None by default. */
  readonly totalTimeout?: Duration.Input | undefined
  /** Whether to run the query again rather than to read its stored result, which may have expired. Off by default. */
  readonly rerun?: boolean | undefined
}

/**
 * The rows of a query.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rows<A> {
  /** The statement's id at the warehouse. */
  readonly statementId: string
  readonly columns: ReadonlyArray<Column>
  readonly rows: ReadonlyArray<A>
  /** Whether rows are missing, because of a limit of Genie or of its warehouse. */
  readonly truncated: boolean
}

/**
 * The errors of every call. `OperationTimeoutError` is one of them, because a question has a time limit by default.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = DatabricksError | Operation.OperationTimeoutError

/**
 * The service that asks Genie as the caller of the fiber.
 *
 * @since 0.1.0
 * @category services
 */
export class Genie extends Context.Service<
  Genie,
  {
    /**
     * Asks a question. The stream's events are `Started`, each new status as `Progress`, and one final event:
     * `Completed`, `Failed` with Genie's own error, `Cancelled` or `QueryResultExpired`.
     *
     * Each run of the stream asks once. It polls after 1 second, and then in growing intervals of up to 10 seconds.
     * Ending the stream early ends the polling; Genie goes on, and `watch` finds the message again.
     */
    readonly ask: (spaceId: string, question: string, options?: AskOptions) => Stream.Stream<Event, Failure>
    /** Asks a question and waits for its answer. A final status other than `COMPLETED` is a `MessageFailedError`. */
    readonly answer: (
      spaceId: string,
      question: string,
      options?: AskOptions
    ) => Effect.Effect<Message, Failure | MessageFailedError>
    /** Streams the events of a message that was started before, beginning with its current status. */
    readonly watch: (message: MessageRef, options?: WatchOptions) => Stream.Stream<Event, Failure>
    /** Returns a message as it is now. */
    readonly message: (message: MessageRef, options?: Operation.Policy) => Effect.Effect<Message, Failure>
    /** Streams the messages of a conversation, page by page, newest first. */
    readonly history: (
      spaceId: string,
      conversationId: string,
      options?: HistoryOptions
    ) => Stream.Stream<Message, Failure>
    /** Returns one page of a conversation, for a route whose client asks for one page at a time. */
    readonly page: (spaceId: string, conversationId: string, options?: PageOptions) => Effect.Effect<Page, Failure>
    /**
     * Reads the whole result of a query and decodes its rows as `SqlWarehouse.query` does; without a Schema each value
     * has the type of its column.
     *
     * A result of several chunks needs the scope `sql` besides `genie`.
     */
    readonly rows: (query: Query) => RowsOf
    /** Reads the whole result of a query as text. */
    readonly table: (query: Query, options?: RowsOptions) => Effect.Effect<Table, Failure>
    /** Sends the caller's rating of an answer, which replaces an earlier one. */
    readonly feedback: (message: MessageRef, rating: Rating, options?: Operation.Policy) => Effect.Effect<void, Failure>
  }
>()("effect-databricks/Genie") {}

/**
 * Reads the rows of a query, with or without a Schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface RowsOf {
  <S extends Schema.Constraint>(
    schema: S,
    options?: RowsOptions
  ): Effect.Effect<Rows<S["Type"]>, Failure | RowDecodeError, S["DecodingServices"]>
  (options?: RowsOptions): Effect.Effect<Rows<Row>, Failure | RowDecodeError>
}

/**
 * Makes the service.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Genie["Service"], never, ServiceContext | WorkspaceClient> = Effect.map(
  Effect.all([ServiceContext, WorkspaceClient]),
  ([service, client]) => Client.make(service, client)
)

/**
 * Provides the service.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Genie, never, ServiceContext | WorkspaceClient> = Layer.effect(Genie, make)

/**
 * Returns Genie as the user. Its calls run as that user, also inside `asService`.
 *
 * An effect that uses it compiles only under `asUser`. Use it only in the call that returned it: outside of that user's
 * calls its requests die.
 *
 * @since 0.1.0
 * @category accessors
 */
export const user: Effect.Effect<Genie["Service"], never, UserContext | Genie> = Genie.use((genie) =>
  Effect.map(UserContext, (caller) => Client.runAs(genie, caller))
)
