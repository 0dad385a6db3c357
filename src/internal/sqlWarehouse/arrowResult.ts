/** Reads the result of a statement as one Arrow IPC stream: complete, in order and as fast as its reader takes it. */
import { Effect, Stream } from "effect"
import type { DatabricksError } from "../../DatabricksError.ts"
import { emptyOf } from "./arrowSchema.ts"
import * as Links from "./links.ts"
import * as Results from "./results.ts"
import * as Splice from "./splice.ts"
import type { Answer } from "./wire.ts"

/** Reads the bytes. Fails if a chunk or a row is missing or repeated, or a chunk has another schema than the first. */
export const read = (source: Links.Source, answer: Answer): Stream.Stream<Uint8Array, DatabricksError> =>
  Stream.suspend(() => {
    const { manifest, result } = answer
    const { broken, count, misplaced, tooMany, whole, wholeChunk } = Results.extentOf(answer)
    const splicer = Splice.make()
    let rows = 0

    if (tooMany !== undefined) return Stream.fromEffect(broken(tooMany))
    const hasBytes = result != null && (typeof result.attachment === "string" || Links.linkIn(result, 0) !== undefined)
    // A result without rows has no chunk, or one without bytes.
    if (count === 0 || (manifest?.total_row_count === 0 && !hasBytes)) {
      return Stream.fromEffect(Effect.as(whole(0), emptyOf(manifest?.schema.columns ?? [])))
    }

    const spliced = <A>(index: number, splice: () => A): Effect.Effect<A, DatabricksError> =>
      Effect.suspend(() => {
        try {
          return Effect.succeed(splice())
        } catch (cause) {
          return broken(
            `chunk ${index} is not in its format: ${cause instanceof Error ? cause.message : String(cause)}`
          )
        }
      })
    const bytesOf = ({ chunk: { attachment }, link, place }: Results.Located, index: number) => {
      const wrong = misplaced(place, index, rows)
      if (wrong !== undefined) return Stream.fromEffect(broken(wrong))
      const bytes = link
        ? Links.stream(source, index, link)
        : Stream.fromIterable(typeof attachment === "string" ? [Results.bytesOf(attachment)] : [])
      const end = Effect.flatMap(spliced(index, splicer.next), (count) => {
        rows += count
        return wholeChunk(place, index, count)
      })
      return bytes.pipe(
        Stream.mapEffect((part) => spliced(index, () => splicer.push(part))),
        Stream.flattenIterable,
        Stream.onEnd(end)
      )
    }
    return Stream.range(0, count - 1).pipe(
      // Links are requested ahead; a chunk is downloaded when its reader comes to it.
      Stream.mapEffect(
        (index) => Effect.map(Results.locate(source, index, result), (located) => ({ index, located })),
        {
          concurrency: Math.min(Results.chunksAhead, count)
        }
      ),
      Stream.flatMap(({ index, located }) => bytesOf(located, index)),
      Stream.concat(
        Stream.fromEffect(
          Effect.as(
            Effect.suspend(() => whole(rows)),
            Splice.end
          )
        )
      )
    )
  })
