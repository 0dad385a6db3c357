/**
 * The routes of `useGenieChat` and `<GenieChat>` of `@databricks/appkit-ui`. All run as the user.
 *
 * - `POST /api/genie/:alias/messages` asks a question.
 * - `GET /api/genie/:alias/conversations/:cid` reads a page of a conversation.
 * - `GET /api/genie/:alias/conversations/:cid/messages/:mid` follows a message that is not complete.
 *
 * Each answers with a stream that continues after a cut. A repeated `POST` with the same `requestId` joins the stream of
 * the first one. A `POST` with a `Last-Event-ID` never asks Genie again: on another replica it follows the message that
 * the id names.
 *
 * @since 0.1.0
 */
import * as Routes from "../internal/appkit/genie/routes.ts"

/**
 * The spaces of the front end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The ids of the Genie spaces, by the alias that the front end uses: `{ default: "01ef…" }`. */
  readonly spaces: Readonly<Record<string, string>>
  /** The most messages in a page of a conversation. Defaults to 20. */
  readonly pageSize?: number | undefined
}

/**
 * Adds the routes.
 *
 * A message that is `CANCELLED` or `QUERY_RESULT_EXPIRED` is sent as `FAILED` with an `error`, because the hook ends on
 * `COMPLETED` and `FAILED` only. Rows that cannot be read are a sentence in the `error` of their message, and the rest
 * of the answer is shown. A result without all of its rows has `truncated: true` in its `data`, and its message says so
 * in a text of its own; the rows of one result have at most 3 MiB of JSON.
 *
 * Fails with a `ConfigError` if an option is out of bounds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options) => Routes.layer(options)
