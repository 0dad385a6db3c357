/** The users' files: uploads, downloads, and attempts at the files of others. */
import { Effect, Random, Stream } from "effect"
import { HttpClientRequest } from "effect/http"
import { createHash, randomBytes } from "node:crypto"
import { type File, isCertain, nothing } from "./fileLedger.ts"
import { Soak } from "./journal.ts"
import type { Fate } from "./ledger.ts"
import { type Answer, ask, type Do, hashed, tagOf } from "./requests.ts"

const largest = 4 * 2 ** 20
const pool = randomBytes(largest)
/** The most pieces of an upload. */
const most = 16

/** Refused before a byte was read. */
const unread = new Set(["AuthenticationError", "IdentityMismatchError", "IdentityUnavailableError", "FileExistsError"])

let count = 0
/** From a few bytes to a few MiB, each different from all others. */
const contentOf = ({ name, owner }: File, chance: number): Uint8Array =>
  Buffer.concat([Buffer.from(`${owner} ${name} ${++count} `), pool.subarray(0, Math.floor(largest ** chance))])

const hashOf = (content: Uint8Array) => createHash("sha256").update(content).digest("hex")

const pathOf = ({ name, owner }: File) => `/files/${owner}/${encodeURIComponent(name)}`

/** Uses a file alone. */
const using = <A, E, R>(file: File, use: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.ensuring(
    Effect.suspend(() => {
      file.isBusy = true
      return use
    }),
    Effect.sync(() => (file.isBusy = false))
  )

const oneOf = <A>(all: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, all.length, { halfOpen: true }), (index) => all[index])

/** What became of an upload; `isSent` says whether the client has given all of it away. */
const fateOf = (answer: Answer, isSent: boolean): Fate => {
  if (answer._tag === "Answered" && answer.status === 201) return "acknowledged"
  return !isSent || (answer._tag === "Answered" && unread.has(tagOf(answer.text))) ? "refused" : "unknown"
}

/** Uploads a new file or replaces one, with or without a length, within so many milliseconds or at once. */
const uploadIn =
  (milliseconds: number, leaving = 0): Do =>
  (visit, chance) =>
    Effect.gen(function* () {
      const { files, journal } = yield* Soak
      const own = files.free(visit.user.name).filter(isCertain)
      const [which, hasLength, overwrites] = yield* Effect.all([Random.next, Random.nextBoolean, Random.next])
      // Some leave in the middle.
      const leaves = (yield* Random.next) < leaving ? milliseconds * (yield* Random.next) : visit.leaves
      const file = (which < 0.5 ? yield* oneOf(own) : undefined) ?? files.open(visit.user.name)
      const isNew = file.possible.has(nothing)
      const overwrite = !isNew && overwrites < 0.8
      const content = contentOf(file, chance)
      const size = Math.ceil(content.length / most)
      const pieces = Math.ceil(content.length / size)
      let isSent = false
      const body = Stream.range(0, pieces - 1).pipe(
        Stream.mapEffect((index) =>
          Effect.delay(
            Effect.sync(() => {
              isSent = index === pieces - 1
              return content.subarray(index * size, (index + 1) * size)
            }),
            milliseconds / pieces
          )
        )
      )
      const make = overwrite ? HttpClientRequest.put : HttpClientRequest.post
      const request = HttpClientRequest.bodyStream(make(pathOf(file)), body, {
        contentType: "application/octet-stream",
        ...(hasLength && { contentLength: content.length })
      })
      yield* using(
        file,
        Effect.gen(function* () {
          const { answer } = yield* ask({ ...visit, leaves, also: isNew || overwrite ? [] : [409] }, request)
          const fate = fateOf(answer, isSent)
          const how = () => `${visit.kind} of ${visit.user.name}: ${file.name}`
          if (fate === "acknowledged") {
            journal.holds("files", isSent, () => `${how()} was acknowledged before all of it was sent`)
            journal.holds("files", isNew || overwrite, () => `${how()} was replaced unasked`)
          }
          files.settle(file, hashOf(content), fate)
        })
      )
    })

export const upload = uploadIn(0)
export const slowUpload = uploadIn(1_500)
export const slowUploadOrLeave = uploadIn(1_500, 0.3)

export const download: Do = (visit) =>
  Effect.gen(function* () {
    const { files, journal } = yield* Soak
    const file = yield* oneOf(files.free(visit.user.name))
    if (file === undefined) return
    const request = HttpClientRequest.get(pathOf(file))
    const { answer } = yield* using(file, ask({ ...visit, also: [404] }, request, hashed))
    if (answer._tag !== "Answered" || ![200, 404].includes(answer.status)) return
    const hash = answer.status === 404 ? nothing : answer.text
    journal.holds(
      "downloads",
      file.possible.has(hash),
      () => `${visit.kind} of ${visit.user.name}: ${hash === nothing ? "not found" : "another content"}: ${file.name}`
    )
  })

/** Asks for a file of another user. */
export const trespass: Do = (visit) =>
  Effect.gen(function* () {
    const { files, journal } = yield* Soak
    const file = yield* oneOf(files.free(visit.user.name, "others"))
    if (file === undefined) return
    const request = HttpClientRequest.get(pathOf(file))
    const { outcome } = yield* ask({ ...visit, also: [404] }, request, hashed)
    journal.holds("own", outcome !== "succeeded", () => `${visit.user.name} read ${file.name} of ${file.owner}`)
  })
