/** The routes of files and directories in volumes. */
import { toIncomingMessage } from "@effect/platform-node/NodeHttpServerRequest"
import * as NodeStream from "@effect/platform-node/NodeStream"
import { Effect, type Scope } from "effect"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import type * as LocalFiles from "../../LocalFiles.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated, pathOf } from "../http/requests.ts"
import type { Directory } from "../identity/directory.ts"
import * as Store from "./store.ts"

export interface Options {
  readonly directory: Directory
  readonly files: LocalFiles.Options
  /** The folder that keeps the files for the next start. Without it, they are removed when the scope closes. */
  readonly kept: string | undefined
}

const api = "/api/2.0/fs"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "effect-databricks-files-"))),
  (root) => Effect.sync(() => fs.rmSync(root, { recursive: true, force: true }))
)

/** Adds the routes. */
export const addTo = (
  router: HttpRouter.HttpRouter,
  { directory, files, kept }: Options
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    const root = kept ?? (yield* temporary)
    const { emptyPages = false, pageSize = 1000, volumes = [{ path: "/Volumes/main/default/files" }] } = files
    const store = Store.make(root, directory.service, volumes)
    const add = adder(router)

    /** Answers for a path of this kind, to a caller who has the permission. */
    const route = (
      method: Parameters<typeof add>[0],
      kind: "files" | "directories",
      permission: Store.Permission,
      handle: (at: At) => Effect.Effect<HttpServerResponse.HttpServerResponse, Replies.Refused>
    ) =>
      add(
        method,
        `${api}/${kind}/*`,
        authenticated(directory)("files", (caller) =>
          Effect.gen(function* () {
            const request = yield* HttpServerRequest.HttpServerRequest
            const encoded = pathOf(request).slice(`${api}/${kind}`.length)
            const { name, place } = yield* store.resolve(encoded, caller, permission)
            const query = new URLSearchParams(request.url.split("?")[1])
            return yield* handle({ request, name, place, query, stats: yield* store.stat(place) })
          })
        )
      )

    const file = ({ name, stats }: At) =>
      stats?.isFile() ? Effect.succeed(stats) : Effect.fail(Replies.fileNotFound(name))
    const folder = ({ name, stats }: At) =>
      stats?.isDirectory() ? Effect.succeed(stats) : Effect.fail(Replies.fileNotFound(name))

    // The router answers a HEAD with the head of a GET.
    yield* route("GET", "files", "READ VOLUME", (at) =>
      Effect.gen(function* () {
        const stats = yield* file(at)
        const range = rangeOf(at.request.headers["range"], stats.size)
        if (range === "unsatisfiable") return yield* Replies.rangeNotSatisfiable
        const { end, start } = range ?? { start: 0, end: stats.size - 1 }
        const content = NodeStream.fromReadable<Uint8Array>({
          evaluate: () => fs.createReadStream(at.place, { start, end: Math.max(start, end), highWaterMark: 256 * 1024 })
        })
        return HttpServerResponse.stream(content, {
          status: range === undefined ? 200 : 206,
          contentType: octets,
          contentLength: end - start + 1,
          headers: {
            ...headersOf(stats),
            ...(range !== undefined && { "content-range": `bytes ${start}-${end}/${stats.size}` })
          }
        })
      })
    )
    yield* route("PUT", "files", "WRITE VOLUME", ({ name, place, query, request, stats }) =>
      Effect.gen(function* () {
        const overwrite = query.get("overwrite") !== "false"
        if (stats?.isDirectory()) return yield* Replies.isDirectory(name)
        if (stats !== undefined && !overwrite) return yield* Replies.fileExists
        yield* store.store(toIncomingMessage(request), place, overwrite)
        return noContent
      })
    )
    yield* route("DELETE", "files", "WRITE VOLUME", (at) =>
      Effect.map(file(at), () => {
        fs.rmSync(at.place)
        return noContent
      })
    )
    yield* route("PUT", "directories", "WRITE VOLUME", ({ place, stats }) =>
      stats?.isFile()
        ? Effect.fail(Replies.fileExists)
        : Effect.sync(() => {
            fs.mkdirSync(place, { recursive: true })
            return noContent
          })
    )
    yield* route("DELETE", "directories", "WRITE VOLUME", (at) =>
      Effect.flatMap(folder(at), () =>
        Effect.try({
          try: () => {
            fs.rmdirSync(at.place)
            return noContent
          },
          catch: () => Replies.directoryNotEmpty(at.name)
        })
      )
    )
    yield* route("GET", "directories", "READ VOLUME", (at) =>
      Effect.map(folder(at), () => {
        const [, offset = "0", after] = /^(\d+)(.*)$/.exec(at.query.get("page_token") ?? "") ?? []
        if (emptyPages && after !== "!") return HttpServerResponse.jsonUnsafe({ next_page_token: `${offset}!` })
        const end = Number(offset) + Number(at.query.get("page_size") ?? pageSize)
        const names = fs.readdirSync(at.place).toSorted()
        return HttpServerResponse.jsonUnsafe({
          contents: names.slice(Number(offset), end).map((name) => entryOf(at, name)),
          ...(end < names.length && { next_page_token: String(end) })
        })
      })
    )
  })

interface At {
  readonly request: HttpServerRequest.HttpServerRequest
  /** The path as a caller knows it, and as the file system does. */
  readonly name: string
  readonly place: string
  readonly query: URLSearchParams
  readonly stats: fs.Stats | undefined
}

const octets = "application/octet-stream"

const noContent = HttpServerResponse.empty({ status: 204 })

const headersOf = (stats: fs.Stats) => ({ "last-modified": stats.mtime.toUTCString(), "accept-ranges": "bytes" })

const entryOf = (at: At, name: string) => {
  const stats = fs.statSync(path.join(at.place, name))
  const common = { name, path: `${at.name}/${name}`, is_directory: stats.isDirectory() }
  return stats.isDirectory() ? common : { ...common, file_size: stats.size, last_modified: Math.floor(stats.mtimeMs) }
}

const rangeOf = (header: string | undefined, size: number) => {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(header ?? "") ?? []
  if (first === "" && last === "") return undefined
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first)
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1)
  return start > end ? "unsatisfiable" : { start, end }
}
