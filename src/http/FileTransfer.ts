/**
 * Sends files of a volume to browsers, and stores the bodies of requests as files, both in bounded memory.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { HttpRouter, HttpServerResponse } from "effect/http"
 * import { Files, FileTransfer } from "effect-databricks"
 *
 * const uploads = Files.userVolume("/Volumes/main/app/uploads")
 *
 * export const download = Effect.gen(function* () {
 *   const { id = "" } = yield* HttpRouter.params
 *   return yield* FileTransfer.download(yield* uploads, `reports/${id}.csv`, { name: "report.csv" })
 * })
 *
 * export const upload = Effect.gen(function* () {
 *   const { id = "" } = yield* HttpRouter.params
 *   yield* FileTransfer.upload(yield* uploads, `reports/${id}.csv`, { maxSize: "100 MB" })
 *   return HttpServerResponse.empty({ status: 201 })
 * })
 * ```
 *
 * @since 0.1.0
 */
import { ByteSize, DateTime, Effect, type Scope, Stream } from "effect"
import { HttpEffect, type HttpServerError, HttpServerRequest, HttpServerResponse } from "effect/http"
import type { Failure, Files, Range, ReadOptions, WriteOptions } from "../Files.ts"
import type { FileExistsError, InvalidRangeError } from "../FilesError.ts"
import { HttpFailure } from "./HttpFailure.ts"

/**
 * The options of a download.
 *
 * @since 0.1.0
 * @category models
 */
export interface DownloadOptions extends Omit<ReadOptions, "range"> {
  /** The name under which the browser saves the file. Defaults to that of the file. */
  readonly name?: string | undefined
  /** The media type. Defaults to that of the workspace, which is `application/octet-stream`. */
  readonly contentType?: string | undefined
  /** Whether the browser shows the file, in a sandbox without scripts. Defaults to `false`, which saves it. */
  readonly inline?: boolean | undefined
}

/**
 * Returns a response with the content of a file: `FileTransfer.download(yield* uploads, path)`.
 *
 * The response has `Content-Length`, `Last-Modified`, the file's name in any script, and `nosniff`. A `Range` of the
 * request with one part is a 206; one beyond the end fails with `InvalidRangeError`, and the 416 has the file's size in
 * `Content-Range`. A client that disconnects aborts the request to the workspace.
 *
 * @since 0.1.0
 * @category conversions
 */
export const download: (
  files: Pick<Files["Service"], "open" | "stat">,
  path: string,
  options?: DownloadOptions
) => Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  Failure | InvalidRangeError,
  HttpServerRequest.HttpServerRequest | Scope.Scope
> = Effect.fnUntraced(function* (files, path, { contentType, inline = false, name, ...options } = {}) {
  const { headers, method } = yield* HttpServerRequest.HttpServerRequest
  // The workspace gives no ETag by which If-Range could be decided, and then the whole file is right.
  const range = method === "GET" && headers["if-range"] === undefined ? rangeOf(headers["range"]) : undefined
  // The scope of the request closes the file, also if the client has left.
  const file = yield* files
    .open(path, { ...options, range })
    .pipe(Effect.tapError(({ _tag }) => (_tag === "InvalidRangeError" ? withSize(files, path, options) : Effect.void)))
  return HttpServerResponse.stream(file.body, {
    status: file.range === undefined ? 200 : 206,
    contentType: contentType ?? file.contentType ?? "application/octet-stream",
    ...(file.contentLength !== undefined && { contentLength: file.contentLength }),
    headers: {
      "content-disposition": disposition(inline, name ?? file.name),
      "x-content-type-options": "nosniff",
      "cache-control": "private, no-cache",
      "accept-ranges": "bytes",
      ...(inline && { "content-security-policy": "sandbox" }),
      ...(file.lastModified && { "last-modified": DateTime.toDateUtc(file.lastModified).toUTCString() }),
      ...(file.range && { "content-range": `bytes ${file.range.start}-${file.range.end}/${file.size ?? "*"}` })
    }
  })
})

/** Adds the size of the file to a 416. */
const withSize = (
  files: Pick<Files["Service"], "stat">,
  path: string,
  options: Pick<ReadOptions, "retry" | "timeout">
) =>
  Effect.flatMap(files.stat(path, options), ({ size = "*" }) =>
    HttpEffect.appendPreResponseHandler((_, response) =>
      Effect.succeed(
        response.status === 416 ? HttpServerResponse.setHeader(response, "content-range", `bytes */${size}`) : response
      )
    )
  ).pipe(Effect.ignore)

/**
 * The options of an upload.
 *
 * @since 0.1.0
 * @category models
 */
export interface UploadOptions extends Omit<WriteOptions, "contentLength" | "retry"> {
  /** The largest body; a larger one is a 413, and nothing is stored. Defaults to 5 GiB, the limit of the workspace. */
  readonly maxSize?: ByteSize.Input | undefined
}

/**
 * Stores the body of the request as a file, byte for byte and whatever its content type:
 * `FileTransfer.upload(yield* uploads, path)`.
 *
 * The body is not read before, so `maxBodySize` of the server does not apply. If the client disconnects before the end,
 * nothing is stored.
 *
 * @since 0.1.0
 * @category conversions
 */
export const upload: (
  files: Pick<Files["Service"], "write">,
  path: string,
  options?: UploadOptions
) => Effect.Effect<
  void,
  Failure | FileExistsError | HttpServerError.HttpServerError | HttpFailure,
  HttpServerRequest.HttpServerRequest
> = Effect.fnUntraced(function* (files, path, { maxSize = ByteSize.gibibytes(5), ...options }: UploadOptions = {}) {
  const { headers, stream } = yield* HttpServerRequest.HttpServerRequest
  const limit = Number(ByteSize.fromInputUnsafe(maxSize))
  const length = headers["content-length"]
  const contentLength = length === undefined ? undefined : Number(length)
  if (contentLength !== undefined && contentLength > limit) return yield* tooLarge(limit)
  let size = 0
  const content = Stream.tap(stream, (chunk) => {
    size += chunk.length
    return size > limit ? tooLarge(limit) : Effect.void
  })
  yield* files.write(path, content, { ...options, contentLength })
})

const tooLarge = (limit: number) =>
  Effect.fail(
    new HttpFailure({
      status: 413,
      body: { _tag: "PayloadTooLarge", message: `The request body is larger than ${limit} bytes, which is the limit` }
    })
  )

/** Reads a `Range` with one part. Any other is ignored, as HTTP allows. */
const rangeOf = (header: string | undefined): Range | undefined => {
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "") ?? []
  if (first === "") return Number(last) > 0 ? { start: -Number(last) } : undefined
  if (last !== "" && Number(last) < Number(first)) return undefined
  return { start: Number(first), end: last === "" ? undefined : Number(last) }
}

// RFC 6266: clients that do not know `filename*` read the other.
const disposition = (inline: boolean, name: string) => {
  const plain = name.replaceAll(/[^\x20-\x7e]|["\\%;]/g, "_")
  const encoded = encodeURIComponent(name.toWellFormed()).replaceAll(
    /['()*]/g,
    (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`
  )
  return `${inline ? "inline" : "attachment"}; filename="${plain}"; filename*=UTF-8''${encoded}`
}
