/** Lists that the workspace returns in pages. */
import { Effect, Option, Stream } from "effect"
import { type DatabricksError, InvalidResponseError, make as databricksError } from "../../DatabricksError.ts"

export type Page<A> = readonly [items: ReadonlyArray<A>, next: string | null | undefined]

/**
 * Streams the items of all pages. `page` returns the items of one and the token of the next, which the last one lacks.
 * A page with its own token as the next would never end, and fails.
 */
export const pages = <A, E, R>(
  page: (token: string | undefined) => Effect.Effect<Page<A>, E, R>
): Stream.Stream<A, E | DatabricksError, R> =>
  Stream.paginate(undefined as string | undefined, (token) =>
    Effect.flatMap(page(token), ([items, next]) =>
      next && next === token ? endless : Effect.succeed([items, next ? Option.some(next) : Option.none()] as const)
    )
  )

const endless = Effect.fail(
  databricksError(
    new InvalidResponseError({ message: "A page of a list names itself as its next page, so the list would never end" })
  )
)
