/** Reads the result of a statement chunk by chunk: complete, in order and in bounded memory. */
import { Cause, Effect, type Pull, Stream } from "effect"
import { type DatabricksError, InvalidResponseError, make as databricksError } from "../../DatabricksError.ts"
import * as Retry from "../workspace/retry.ts"
import * as Arrow from "./arrow.ts"
import * as Json from "./json.ts"
import * as Links from "./links.ts"
import type { Answer, Chunk, Link, Place, TextRow } from "./wire.ts"

interface Loaded {
  readonly place: Place
  readonly parts: Iterator<ReadonlyArray<unknown>>
}

// The most chunks fetched ahead of the current one.
export const chunksAhead = 4
const bytesAhead = 64 * 1024 * 1024

// 100 GiB, the largest result, in chunks of 100 kB.
const maxChunks = 1_000_000

/** The extent of a result. */
export const extentOf = ({ manifest, result, statement_id }: Answer) => {
  const count = manifest?.total_chunk_count ?? (result ? 1 : 0)
  const total = manifest?.truncated === true ? undefined : manifest?.total_row_count
  const broken = (what: string): Effect.Effect<never, DatabricksError> =>
    Effect.fail(
      databricksError(
        new InvalidResponseError({ message: `The result of the statement ${statement_id} is incomplete: ${what}` })
      )
    )
  return {
    count,
    broken,
    /** What is wrong with the number of chunks. */
    tooMany: count > maxChunks ? `it has ${count} chunks` : undefined,
    /** What is wrong with the place of a chunk that begins after `offset` rows. */
    misplaced: (place: Place, index: number, offset: number) => misplaced(place, index, offset, index === count - 1),
    /** Fails unless a chunk has the number of rows that its place says. */
    wholeChunk: ({ row_count }: Place, index: number, rows: number) =>
      (row_count ?? rows) === rows ? Effect.void : broken(`chunk ${index} has ${rows} rows in place of ${row_count}`),
    /** Fails unless the result has the number of rows that its manifest says. */
    whole: (rows: number) =>
      (total ?? rows) === rows ? Effect.void : broken(`it has ${rows} rows in place of ${total}`)
  }
}

/** Reads the rows in parts of a few hundred. Fails if a chunk or a row is missing or repeated. */
export const read = (source: Links.Source, answer: Answer): Stream.Stream<ReadonlyArray<TextRow>, DatabricksError> =>
  Stream.suspend(() => {
    const { manifest, result } = answer
    const { broken, count, misplaced, tooMany, whole, wholeChunk } = extentOf(answer)
    const width = manifest?.schema.columns?.length ?? 0
    let rows = 0
    const partsOf = ({ parts, place }: Loaded, index: number) => {
      const offset = rows
      const wrong = misplaced(place, index, offset)
      if (wrong !== undefined) return Stream.fromEffect(broken(wrong))
      const part = Effect.suspend((): Pull.Pull<readonly [ReadonlyArray<TextRow>], DatabricksError> => {
        try {
          const { done, value } = parts.next()
          if (done !== true) {
            if (!isRows(value, width)) return broken(`chunk ${index} has a value that is not a row`)
            rows += value.length
            return Effect.succeed([value] as const)
          }
        } catch {
          return broken(`chunk ${index} is truncated, or not in its format`)
        }
        return Effect.andThen(wholeChunk(place, index, rows - offset), Cause.done())
      })
      return Stream.fromPull(Effect.succeed(part))
    }

    if (tooMany !== undefined) return Stream.fromEffect(broken(tooMany))
    return Stream.range(0, count - 1).pipe(
      Stream.mapEffect(
        (index) => Effect.map(load(source, manifest, index, result), (loaded) => ({ index, loaded })),
        // Most results have one chunk, which needs no fiber of its own.
        { concurrency: Math.min(aheadOf(manifest), count) }
      ),
      Stream.flatMap(({ index, loaded }) => partsOf(loaded, index)),
      Stream.filter((part) => part.length > 0),
      Stream.onEnd(Effect.suspend(() => whole(rows)))
    )
  })

/** Reads all rows of a result. Most results are one chunk that came with the answer, whose rows need no stream. */
export const collect = (source: Links.Source, answer: Answer): Effect.Effect<ReadonlyArray<TextRow>, DatabricksError> =>
  Effect.suspend(() => {
    const rows = wholeIn(answer)
    return rows === undefined
      ? Effect.map(Stream.runCollect(read(source, answer)), (parts) => parts.flat())
      : Effect.succeed(rows)
  })

/** The rows that came with the answer; `undefined` unless `read` would emit them as they are. */
const wholeIn = ({ manifest, result }: Answer): ReadonlyArray<TextRow> | undefined => {
  const rows = result?.data_array
  if (!rows || result?.external_links || result?.attachment || manifest?.total_chunk_count !== 1) return undefined
  const total = manifest.truncated === true ? rows.length : (manifest.total_row_count ?? rows.length)
  return total === rows.length &&
    (result.row_count ?? rows.length) === rows.length &&
    misplaced(result, 0, 0, true) === undefined &&
    isRows(rows, manifest.schema.columns?.length ?? 0)
    ? rows
    : undefined
}

// At least two, so that one arrives while another is read.
const aheadOf = (manifest: Answer["manifest"]) => {
  const largest = (manifest?.chunks ?? []).reduce((most, { byte_count }) => Math.max(most, byte_count ?? 1), 1)
  return Math.min(Math.max(Math.floor(bytesAhead / largest), 2), chunksAhead)
}

/** A chunk, and its link if it has one. */
export interface Located {
  readonly place: Place
  readonly chunk: Chunk
  readonly link: Link | undefined
}

/** Requests a chunk, unless it came with the answer. */
export const locate = (
  source: Links.Source,
  index: number,
  first: Answer["result"]
): Effect.Effect<Located, DatabricksError> =>
  Effect.map(index === 0 && first ? Effect.succeed(first) : Retry.polled(source.ask(index)), (chunk) => {
    const link = Links.linkIn(chunk, index)
    return { place: link ?? chunk, chunk, link }
  })

export const bytesOf = (attachment: string): Uint8Array => new Uint8Array(Buffer.from(attachment, "base64"))

const load = Effect.fnUntraced(function* (
  source: Links.Source,
  manifest: Answer["manifest"],
  index: number,
  first: Answer["result"]
): Effect.fn.Return<Loaded, DatabricksError> {
  const { chunk, link, place } = yield* locate(source, index, first)
  if (link !== undefined) {
    const bytes = yield* Retry.polled(Links.using(source, index, link, (_) => Links.download(source, _)))
    const parts = manifest?.format === "ARROW_STREAM" ? Arrow.partsOf(bytes) : Json.partsOf(bytes)
    return { place, parts: thenFreed(parts, bytes) }
  }
  const { attachment, data_array } = chunk
  return {
    place,
    parts: typeof attachment === "string" ? Arrow.partsOf(bytesOf(attachment)) : [data_array ?? []][Symbol.iterator]()
  }
})

/** Frees the memory of a chunk after its last part, to keep a stream within its memory bound. */
function* thenFreed<A>(parts: Iterable<A>, { buffer }: Uint8Array) {
  yield* parts
  // TypeScript's library does not declare it yet.
  ;(buffer as ArrayBufferLike & { readonly transfer: (length: number) => unknown }).transfer(0)
}

const misplaced = (place: Place, index: number, offset: number, isLast: boolean): string | undefined => {
  const { chunk_index, next_chunk_index, row_offset } = place
  if ((chunk_index ?? index) !== index) return `chunk ${chunk_index} came in place of ${index}`
  if ((row_offset ?? offset) !== offset) return `chunk ${index} begins with row ${row_offset}, after ${offset} rows`
  return isLast && typeof next_chunk_index === "number" ? `it continues after its last chunk, ${index}` : undefined
}

const isRows = (part: ReadonlyArray<unknown>, width: number): part is ReadonlyArray<TextRow> =>
  part.every(
    (row) =>
      Array.isArray(row) && row.length === width && row.every((value) => value === null || typeof value === "string")
  )
