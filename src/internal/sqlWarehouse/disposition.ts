/** Where a result that is collected is to come from: inline, in the fewest round trips, unless it is too large for that. */
import { Effect } from "effect"
import { DatabricksError, make as databricksError, StatementFailedError } from "../../DatabricksError.ts"
import { isReadOnly } from "./readOnly.ts"
import type { Disposition } from "./wire.ts"

const textsKept = 256

export const make = () => {
  const large = new Set<string>()
  const remember = (text: string) => {
    large.add(text)
    const [oldest] = large
    if (large.size > textsKept && oldest !== undefined) large.delete(oldest)
  }

  /**
   * Runs a statement inline, and once more by external links when its result turns out to be too large: it ran for
   * nothing, which the next one with this text does not. What may have written is not run again.
   */
  return <A, E, R>(
    text: string,
    run: (disposition: Disposition) => Effect.Effect<A, E | DatabricksError, R>
  ): Effect.Effect<A, E | DatabricksError, R> =>
    Effect.suspend(() =>
      large.has(text)
        ? run("EXTERNAL_LINKS")
        : Effect.catchIf(run("INLINE"), isTooLarge, (error) => {
            if (!isReadOnly(text)) return Effect.fail(notAgain(error))
            remember(text)
            return run("EXTERNAL_LINKS")
          })
    )
}

interface TooLarge extends DatabricksError {
  readonly reason: StatementFailedError
}

const isTooLarge = (error: unknown): error is TooLarge =>
  error instanceof DatabricksError &&
  error.reason._tag === "StatementFailedError" &&
  error.reason.message.includes("Inline byte limit exceeded")

const notAgain = ({ reason }: TooLarge) =>
  databricksError(
    new StatementFailedError({
      ...reason,
      message: `${reason.message} It ran, and may have written, so that it is not run again: for such a result use SqlWarehouse.stream`
    })
  )
