/** The result of a statement, chunk by chunk: in order, whole, and no more of it in memory than is being read. */
import { Cause, Clock, Effect, type Pull, Stream } from "effect"
import { type DatabricksError, InvalidResponseError, make as databricksError } from "../../DatabricksError.ts"
import * as Arrow from "./arrow.ts"
import * as Json from "./json.ts"
import { download, type Fetch, isStale } from "./links.ts"
import { patiently } from "./patiently.ts"
import type { Answer, Chunk, Link, Manifest, Place, TextRow } from "./wire.ts"

export interface Source {
  readonly host: string
  readonly fetch: Fetch
  /** Asks the workspace for a chunk, or for the link to it. */
  readonly ask: (index: number) => Effect.Effect<Chunk, DatabricksError>
}

interface Loaded {
  readonly place: Place
  readonly parts: Iterator<ReadonlyArray<unknown>>
}

// The most that is fetched ahead of the chunk that is being read.
const chunksAhead = 4
const bytesAhead = 64 * 1024 * 1024

// 100 GiB, the most that a result has, in chunks of 100 kB.
const maxChunks = 1_000_000

/** Reads the rows in parts of a few hundred; fails if a chunk or a row is missing or comes twice. */
export const read = (source: Source, answer: Answer): Stream.Stream<ReadonlyArray<TextRow>, DatabricksError> =>
  Stream.suspend(() => {
    const { manifest, result, statement_id } = answer
    const count = manifest?.total_chunk_count ?? (result === undefined ? 0 : 1)
    const width = manifest?.schema.columns?.length ?? 0
    const total = manifest?.truncated === true ? undefined : manifest?.total_row_count
    let rows = 0

    const broken = (what: string) =>
      Effect.fail(
        databricksError(
          new InvalidResponseError({ message: `The result of the statement ${statement_id} is not whole: ${what}` })
        )
      )
    const partsOf = ({ parts, place }: Loaded, index: number) => {
      const offset = rows
      const wrong = misplaced(place, index, offset, index === count - 1)
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
          return broken(`chunk ${index} breaks off, or is not of its format`)
        }
        return (place.row_count ?? rows - offset) === rows - offset
          ? Cause.done()
          : broken(`chunk ${index} has ${rows - offset} rows in place of ${place.row_count}`)
      })
      return Stream.fromPull(Effect.succeed(part))
    }
    const end = Effect.suspend(() =>
      (total ?? rows) === rows ? Effect.void : broken(`it has ${rows} rows in place of ${total}`)
    )

    if (count > maxChunks) return Stream.fromEffect(broken(`it has ${count} chunks`))
    return Stream.range(0, count - 1).pipe(
      Stream.mapEffect(
        (index) =>
          Effect.map(load(source, manifest, index, index === 0 ? result : undefined), (loaded) => ({ index, loaded })),
        // Most results are one chunk, which then needs no fiber of its own.
        { concurrency: Math.min(aheadOf(manifest), count) }
      ),
      Stream.flatMap(({ index, loaded }) => partsOf(loaded, index)),
      Stream.filter((part) => part.length > 0),
      Stream.onEnd(end)
    )
  })

// Two at least: one arrives while another is read.
const aheadOf = (manifest: Manifest | undefined) => {
  const largest = (manifest?.chunks ?? []).reduce((most, { byte_count = 1 }) => Math.max(most, byte_count), 1)
  return Math.min(Math.max(Math.floor(bytesAhead / largest), 2), chunksAhead)
}

const load = Effect.fnUntraced(function* (
  source: Source,
  manifest: Manifest | undefined,
  index: number,
  first: Chunk | undefined
): Effect.fn.Return<Loaded, DatabricksError> {
  const chunk = first ?? (yield* patiently(source.ask(index)))
  const link = linkIn(chunk, index)
  if (link !== undefined) {
    const bytes = yield* fetched(source, index, link)
    const parts = manifest?.format === "ARROW_STREAM" ? Arrow.partsOf(bytes) : Json.partsOf(bytes)
    return { place: link, parts: thenFreed(parts, bytes) }
  }
  const { attachment, data_array } = chunk
  return {
    place: chunk,
    parts:
      typeof attachment === "string"
        ? Arrow.partsOf(new Uint8Array(Buffer.from(attachment, "base64")))
        : [data_array ?? []][Symbol.iterator]()
  }
})

/** Frees the memory of a chunk with its last part, so that a stream stays within the memory that it promises. */
function* thenFreed<A>(parts: Iterable<A>, { buffer }: Uint8Array) {
  yield* parts
  // TypeScript's library does not have it yet.
  ;(buffer as ArrayBufferLike & { readonly transfer: (length: number) => unknown }).transfer(0)
}

const linkIn = ({ external_links }: Chunk, index: number) =>
  external_links?.find(({ chunk_index }) => (chunk_index ?? index) === index)

/** Asks for a new link if this one has expired or the storage refuses it. */
const fetched = (source: Source, index: number, first: Link): Effect.Effect<Uint8Array, DatabricksError> => {
  let link: Link | undefined = first
  let refusals = 0
  const fetch: Effect.Effect<Uint8Array, DatabricksError> = Effect.gen(function* () {
    if (link === undefined || isStale(link, yield* Clock.currentTimeMillis)) {
      link = linkIn(yield* source.ask(index), index)
    }
    return link === undefined ? yield* noLink(index) : yield* download(source.fetch, source.host, link)
  }).pipe(
    Effect.catchTag("LinkRefused", ({ status }) => {
      link = undefined
      return ++refusals < 3 ? fetch : refused(index, status)
    })
  )
  return patiently(fetch)
}

const noLink = (index: number) =>
  Effect.fail(
    databricksError(new InvalidResponseError({ message: `The workspace has no link to chunk ${index} of a result` }))
  )

const refused = (index: number, status: number) =>
  Effect.fail(
    databricksError(
      new InvalidResponseError({
        message: `The storage refuses every new link to chunk ${index} of a result (${status})`,
        status
      })
    )
  )

const misplaced = (place: Place, index: number, offset: number, isLast: boolean): string | undefined => {
  const { chunk_index = index, next_chunk_index, row_offset = offset } = place
  if (chunk_index !== index) return `chunk ${chunk_index} came in place of ${index}`
  if (row_offset !== offset) return `chunk ${index} begins with row ${row_offset}, after ${offset} rows`
  return isLast && typeof next_chunk_index === "number" ? `it goes on after its last chunk, ${index}` : undefined
}

const isRows = (part: ReadonlyArray<unknown>, width: number): part is ReadonlyArray<TextRow> =>
  part.every(
    (row) =>
      Array.isArray(row) && row.length === width && row.every((value) => value === null || typeof value === "string")
  )
