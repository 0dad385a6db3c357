/** The volumes of the routes: who their calls run as, what the app allows, and which paths are theirs. */
import { Duration, Effect } from "effect"
import { HttpRouter, HttpServerRequest, type HttpServerResponse } from "effect/http"
import type { Action, Options, Resource, ServiceVolume } from "../../../appkit/Files.ts"
import * as Policy from "../../../appkit/Policy.ts"
import * as ExecutionContext from "../../../ExecutionContext.ts"
import * as Files from "../../../Files.ts"
import type { InvalidPathError } from "../../../FilesError.ts"
import type { HttpFailure } from "../../../http/HttpFailure.ts"
import * as Operation from "../../../Operation.ts"
import type { ServiceContext } from "../../../ServiceContext.ts"
import * as Paths from "../../files/paths.ts"
import { refusal } from "../failure.ts"
import * as Routes from "../routes.ts"

/** A file or directory of a request: the files of its volume, and its path there. */
export interface Target {
  readonly files: Files.Files["Service"]
  readonly path: string
  readonly volume: Volume
}

/** Answers for a file or directory. */
export type Work = (target: Target) => Handler<never>

type Handler<R> = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  R | ServiceContext | HttpRouter.Provided
>

/** The path of a request. */
type Path = Effect.Effect<string, unknown, HttpRouter.Provided>

interface Volume {
  readonly name: string
  /** The absolute path. */
  readonly root: string
  readonly maxUploadSize: ServiceVolume["maxUploadSize"]
  readonly run: Run
}

/** Runs work as the user or as the app. */
type Run = (volume: Volume, action: Action, path: Path, work: Work) => Handler<Files.Files>

export interface Volumes {
  readonly byName: ReadonlyMap<string, Volume>
  readonly limitOf: (action: Action) => Duration.Duration
}

/** Throws if the path of a volume is not one. */
export const volumesOf = ({ timeout = "30 seconds", uploadTimeout = "10 minutes", volumes }: Options): Volumes => {
  const [limit, uploadLimit] = [Duration.fromInputUnsafe(timeout), Duration.fromInputUnsafe(uploadTimeout)]
  return {
    byName: new Map(Object.entries(volumes).map(([name, volume]) => [name, volumeOf(name, volume)])),
    limitOf: (action) => (action === "upload" ? uploadLimit : limit)
  }
}

const volumeOf = (name: string, options: Options["volumes"][string]): Volume => {
  const volume = typeof options === "string" ? { path: options } : options
  const root = volume.path.replace(/\/$/, "")
  return {
    name,
    root,
    maxUploadSize: volume.maxUploadSize,
    run: volume.runsAs === "service" ? asApp(root, volume.policy) : asUser(root)
  }
}

/** As the verified user of the request, or a 401. */
const asUser = (root: string): Run => {
  const ofUser = Files.userVolume(root)
  return (volume, _, path, work) =>
    Routes.ofUser(Effect.flatMap(ofUser, (files) => Effect.flatMap(path, (path) => work({ files, path, volume }))))
}

/** As the app, if the policy allows it to the sender of the request. */
const asApp = (root: string, policy: Policy.Policy<Action, Resource> = Policy.readOnly): Run => {
  const ofApp = Files.volume(root)
  return (volume, action, path, work) =>
    Effect.gen(function* () {
      const { headers } = yield* HttpServerRequest.HttpServerRequest
      const size = action === "upload" ? headers["content-length"] : undefined
      const resource = { volume: volume.name, path: yield* path, ...(size !== undefined && { size: Number(size) }) }
      yield* Routes.allow(policy, action, resource)
      return yield* ExecutionContext.asService(
        Effect.flatMap(ofApp, (files) => work({ files, path: resource.path, volume }))
      )
    })
}

/** Runs work on the volume and the path of a request, within the time limit of the action. */
export const on = ({ byName, limitOf }: Volumes, action: Action, path: Path, work: Work): Handler<Files.Files> =>
  Effect.gen(function* () {
    const { v = "" } = yield* HttpRouter.params
    const volume = byName.get(v)
    if (volume === undefined) return yield* refusal(404, `Unknown volume "${v}"`)
    const inVolume = Effect.flatMap(path, (path) => within(volume.root, path))
    return yield* Operation.timed(volume.run(volume, action, inVolume, work), `files.${action}`, limitOf(action))
  })

/** The longest path that is sent. */
const maxLength = 4096

/** Returns the path relative to a volume. The volume's own absolute path is what its entries have. */
const within = (root: string, path: string): Effect.Effect<string, InvalidPathError | HttpFailure> => {
  if (path.length > maxLength) return Effect.fail(refusal(400, `The path has more than ${maxLength} characters`))
  const relative = path === root ? "" : path.startsWith(`${root}/`) ? path.slice(root.length + 1) : path
  return Effect.as(Paths.relative(relative), relative)
}

/** Returns the parameter `path`. */
export const pathOfQuery = Effect.flatMap(HttpServerRequest.ParsedSearchParams, ({ path }) =>
  typeof path === "string"
    ? Effect.succeed(path)
    : Effect.fail(refusal(400, path === undefined ? "The parameter path is missing" : "The parameter path is repeated"))
)
