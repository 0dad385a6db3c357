/**
 * AI Search indexes of the local workspace, over tables or queries of its Postgres.
 *
 * An index has no row-level permissions, as in Databricks: it reads its source as the administrator, and each of its
 * `users` finds every row. A query sees the source as it is now; a sync changes the states only.
 *
 * @since 0.1.0
 */

/**
 * The state of an index, as the workspace reports it.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** Whether the index takes queries. */
  readonly ready: boolean
  /** Such as `ONLINE_NO_PENDING_UPDATE`, `PROVISIONING_INITIAL_SNAPSHOT` or `OFFLINE_FAILED`. */
  readonly detailedState: string
  readonly message?: string
}

/**
 * An AI Search index.
 *
 * @category models
 * @since 0.1.0
 */
export interface Index {
  /** The SQL query whose rows are indexed, such as `TABLE articles`. */
  readonly source: string
  /** The column of the primary key. */
  readonly primaryKey: string
  /** The columns with text. A query by text ranks them with `tsvector`. Defaults to none. */
  readonly text?: ReadonlyArray<string>
  /** The column of type `float8[]` with vectors. A query by vector ranks it by cosine. Defaults to none. */
  readonly vector?: string
  /**
   * The embedding model: the vector of a query's text. Without it, `ann` finds a text without a vector by its words, as
   * `full_text` does.
   */
  readonly embed?: (text: string) => ReadonlyArray<number>
  /** The users with SELECT on the index, by user name. Everybody by default; other callers get a 403. */
  readonly users?: ReadonlyArray<string>
  /** The name of the endpoint that serves the index. Defaults to `local`. */
  readonly endpoint?: string
  /** The most rows of a page. Defaults to 1,000, as in Databricks. */
  readonly pageSize?: number
  /** The number of empty pages that come before each page; 0 by default. */
  readonly emptyPages?: number
  /** The states that successive requests for the state get; the last one stays. Online by default. */
  readonly states?: ReadonlyArray<State>
  /** The states after a sync. By default one update, and then online. */
  readonly syncStates?: ReadonlyArray<State>
}
