/**
 * Genie spaces of the local workspace, whose answers are functions of the question.
 *
 * @since 0.1.0
 */

/**
 * A Genie space.
 *
 * @category models
 * @since 0.1.0
 */
export interface Space {
  /** The id in the path of its requests. */
  readonly spaceId: string
  readonly title?: string
  /** The users who may ask, by user name; everyone by default. */
  readonly users?: ReadonlyArray<string>
  /** Answers a question; `earlier` has the questions and answers of the conversation so far. */
  readonly answer: (question: string, earlier: ReadonlyArray<Turn>) => Answer
  /** The number of empty pages that come before each page of a conversation; 0 by default. */
  readonly emptyPages?: number
}

/**
 * A question of a conversation, and its answer.
 *
 * @category models
 * @since 0.1.0
 */
export interface Turn {
  readonly question: string
  readonly answer: Answer
}

/**
 * An answer, and how it comes.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly text?: string
  /** Runs in the local Postgres as the user who asked. A statement that fails makes the message `FAILED`. */
  readonly sql?: string
  readonly title?: string
  readonly description?: string
  /** The most rows of the SQL that Genie keeps; all by default. */
  readonly rowLimit?: number
  readonly suggestedQuestions?: ReadonlyArray<string>
  /** The statuses that polls see before the end, one a poll; `["ASKING_AI"]` by default. New ones are allowed. */
  readonly statuses?: ReadonlyArray<string>
  /**
   * The final status, `COMPLETED` by default and `FAILED` if there is an `error`. `"NEVER"` repeats the last of
   * `statuses` without end.
   */
  readonly end?: "COMPLETED" | "FAILED" | "CANCELLED" | "QUERY_RESULT_EXPIRED" | "NEVER"
  /** The error of a message that fails. */
  readonly error?: { readonly type?: string; readonly error?: string }
}
