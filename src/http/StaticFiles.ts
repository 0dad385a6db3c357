/**
 * Serves the files of a built page beside the routes of its Api.
 *
 * @since 0.1.0
 */
import { ByteSize, Effect, FileSystem, type Layer, Option, Path, PlatformError, Stream } from "effect"
import {
  HttpPlatform,
  HttpRouter,
  HttpServerError,
  HttpServerRequest,
  HttpServerResponse,
  HttpStaticServer
} from "effect/http"
import { createHash, type Hash } from "node:crypto"

/**
 * The folder of the files, and the files that are cached for a year.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The folder of the build. A relative path starts at the working directory of the process. */
  readonly root: string
  /**
   * Matches the paths, relative to `root`, of files whose names change with their content. Defaults to files in `assets`
   * whose names end with a hash of 8 characters, as Vite's do: `assets/index-BfZ3kx1q.js`.
   */
  readonly immutable?: RegExp | undefined
  /**
   * Changes the text of each `index.html` before it is sent, on every request. Its `ETag`, length and ranges are those of
   * the changed text.
   */
  readonly transform?: ((html: string) => Effect.Effect<string>) | undefined
}

/**
 * Serves the files of `root` for GET and HEAD on every path without a route:
 * `Layer.mergeAll(HttpApiBuilder.layer(Api), StaticFiles.layer({ root: "dist/web" }))`.
 *
 * A navigation (its `Accept` names `text/html`) to a path without a file gets `index.html`, so that the page's own router
 * can show it. Any other request is `RouteNotFound`, which `Middleware.layerFailures` answers with 404, `_tag` and `message`.
 *
 * Files need no sign-in. Immutable files are cached for a year. All others are `no-cache`, and revalidated by an `ETag` of
 * their content. `Range` and conditional requests work. Files outside `root`, also behind symbolic links, are not served.
 * Hidden files such as `.env` are not served either, except `.well-known`.
 *
 * Each request reads its file. Logs a warning at start if `index.html` is missing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<
  never,
  never,
  | HttpRouter.HttpRouter
  | HttpRouter.Request<"Error", HttpServerError.HttpServerError>
  | FileSystem.FileSystem
  | Path.Path
  | HttpPlatform.HttpPlatform
> => HttpRouter.use((router) => Effect.flatMap(make(options), (serve) => router.add("GET", "/*", serve)))

const make = Effect.fnUntraced(function* ({ transform, ...options }: Options) {
  const path = yield* Path.Path
  const root = path.resolve(options.root)
  const files = yield* confined(root)
  const platform = yield* cached(root, options.immutable ?? hashedByVite)
  const index = path.join(root, "index.html")
  yield* Effect.catch(files.stat(index), () =>
    Effect.logWarning(
      `The file ${index} does not exist: build the page. Until then every path without a route is a 404`
    )
  )
  const serving = (files: FileSystem.FileSystem, platform: Platform) =>
    HttpStaticServer.make({ root, index: undefined }).pipe(
      Effect.orDie, // it never fails at run time
      Effect.provideService(Path.Path, path),
      Effect.provideService(FileSystem.FileSystem, files),
      Effect.provideService(HttpPlatform.HttpPlatform, platform)
    )
  const serve =
    transform === undefined
      ? yield* serving(files, platform)
      : Effect.suspend(() => Effect.flatten(serving(...changing(files, platform, transform))))
  return HttpServerRequest.HttpServerRequest.use((request) => {
    const notFound = new HttpServerError.HttpServerError({ reason: new HttpServerError.RouteNotFound({ request }) })
    const serveIndex = serve.pipe(
      Effect.provideService(HttpServerRequest.HttpServerRequest, request.modify({ url: "/index.html" })),
      Effect.catchIf(isNotFound, () => Effect.fail(notFound)) // with the requested path, not /index.html
    )
    if (/^\/*(\?|$)/.test(request.url)) return serveIndex
    return isNavigation(request) ? Effect.catchIf(serve, isNotFound, () => serveIndex) : serve
  })
})

const isNavigation = ({ headers }: HttpServerRequest.HttpServerRequest) => /text\/html/i.test(headers["accept"] ?? "")

const isNotFound = ({ reason }: HttpServerError.HttpServerError) => reason._tag === "RouteNotFound"

/** Returns the file system without hidden files and without files outside `root`, also behind symbolic links. */
const confined = Effect.fnUntraced(function* (root: string) {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const segments = (from: string, to: string) => path.relative(from, to).split(path.sep)
  const stat = (file: string) =>
    Effect.gen(function* () {
      if (segments(root, file).some((name) => name.startsWith(".") && name !== ".well-known"))
        return yield* missing(file)
      const [realRoot, realFile] = yield* Effect.all([files.realPath(root), files.realPath(file)])
      return segments(realRoot, realFile)[0] === ".." ? yield* missing(file) : yield* files.stat(realFile)
    }).pipe(Effect.catchIf(leadsNowhere, () => missing(file)))
  return FileSystem.FileSystem.of({ ...files, stat })
})

type Platform = HttpPlatform.HttpPlatform["Service"]

/** Returns the services of one request, which change its page once: its size, `ETag` and ranges are of one text. */
const changing = (files: FileSystem.FileSystem, platform: Platform, transform: NonNullable<Options["transform"]>) => {
  let page: Uint8Array | undefined
  const pageOf = (file: string) =>
    page === undefined
      ? Effect.map(Effect.flatMap(files.readFileString(file), transform), (html) => (page = Buffer.from(html)))
      : Effect.succeed(page)
  const stat: FileSystem.FileSystem["stat"] = (file) =>
    Effect.flatMap(files.stat(file), (info) =>
      isPage(file) && info.type === "File"
        ? Effect.map(pageOf(file), ({ length }) => ({ ...info, size: ByteSize.bytes(length) }))
        : Effect.succeed(info)
    )
  const fileResponse: Platform["fileResponse"] = (file, options) =>
    isPage(file)
      ? Effect.map(pageOf(file), (bytes) => {
          const start = bytesOf(options?.offset, 0)
          const part = bytes.subarray(start, start + bytesOf(options?.bytesToRead, bytes.length))
          return HttpServerResponse.uint8Array(part, {
            status: options?.status,
            headers: { etag: tagOf(createHash("sha256").update(bytes)), "cache-control": "no-cache" }
          })
        })
      : platform.fileResponse(file, options)
  return [
    FileSystem.FileSystem.of({ ...files, stat }),
    HttpPlatform.HttpPlatform.of({ ...platform, fileResponse })
  ] as const
}

const isPage = (file: string) => /(^|[/\\])index\.html$/.test(file)

const missing = (file: string) =>
  Effect.fail(
    PlatformError.systemError({ _tag: "NotFound", module: "StaticFiles", method: "stat", pathOrDescriptor: file })
  )

/** Returns whether a path goes through a file or a circle of links, or is too long. */
const leadsNowhere = ({ reason }: PlatformError.PlatformError) =>
  reason._tag === "BadResource" || (reason.cause instanceof Error && reason.cause.message.startsWith("ENAMETOOLONG"))

/** Returns the platform with `Cache-Control` and an `ETag` of the content in its file responses. */
const cached = Effect.fnUntraced(function* (root: string, immutable: RegExp) {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const platform = yield* HttpPlatform.HttpPlatform
  const known = new Map<string, { readonly stamp: string; readonly etag: string }>()
  // In two builds index.html has the same size, and the same time if the deployment resets times.
  const etagOf = Effect.fnUntraced(function* (file: string) {
    const { mtime, size } = yield* files.stat(file)
    const stamp = `${Option.getOrUndefined(mtime)?.getTime()} ${size}`
    const before = known.get(file)
    if (before?.stamp === stamp) return before.etag
    const hash = createHash("sha256")
    yield* Stream.runForEach(files.stream(file), (bytes) => Effect.sync(() => hash.update(bytes)))
    const etag = tagOf(hash)
    known.set(file, { stamp, etag })
    return etag
  })
  return HttpPlatform.HttpPlatform.of({
    ...platform,
    fileResponse: Effect.fnUntraced(function* (file, options) {
      const response = yield* platform.fileResponse(file, options)
      const below = path.relative(root, file).split(path.sep).join("/")
      return HttpServerResponse.setHeaders(response, {
        etag: yield* etagOf(file),
        "cache-control": below.search(immutable) !== -1 ? "public, max-age=31536000, immutable" : "no-cache"
      })
    })
  })
})

const bytesOf = (size: ByteSize.Input | undefined, absent: number) =>
  size === undefined ? absent : Number(ByteSize.fromInputUnsafe(size))

const tagOf = (hash: Hash) => `"${hash.digest("base64url").slice(0, 27)}"`

// Requires a capital letter or digit, so that a name of 8 letters is not taken for a hash.
const hashedByVite = /^assets\/.*[-.](?=[\w-]*[A-Z\d])[\w-]{8}(\.[a-z]\w*)+$/
