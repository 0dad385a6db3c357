/**
 * The routes under `/api/files` that front ends made for AppKit call, over volumes of Unity Catalog.
 *
 * ```ts
 * import { Layer } from "effect"
 * import * as Files from "effect-databricks/appkit/Files"
 * import * as Policy from "effect-databricks/appkit/Policy"
 *
 * export const Routes = Files.layer({
 *   volumes: {
 *     // As the user.
 *     uploads: "/Volumes/main/app/uploads",
 *     // As the app, read-only.
 *     reports: { path: "/Volumes/main/app/reports", runsAs: "service" },
 *     // As the app, for everyone who can open the app.
 *     exchange: { path: "/Volumes/main/app/exchange", runsAs: "service", policy: Policy.allowAll }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 */
import { type ByteSize, type Duration, Layer } from "effect"
import type { HttpRouter } from "effect/http"
import { Files } from "../Files.ts"
import { routes } from "../internal/appkit/files/routes.ts"
import { volumesOf } from "../internal/appkit/files/volumes.ts"
import * as Routes from "../internal/appkit/routes.ts"
import type { ServiceContext } from "../ServiceContext.ts"
import { ClientConfig } from "./ClientConfig.ts"
import type { Policy } from "./Policy.ts"

/**
 * An action on a volume of the app. `read` is also that of `download`, `raw`, `preview`, `metadata` and `exists`.
 *
 * @since 0.1.0
 * @category models
 */
export type Action = "list" | "read" | "upload" | "mkdir" | "delete"

/**
 * The file or directory of an action.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resource {
  /** The name of the volume in the options. */
  readonly volume: string
  /** The path in the volume, without dot segments and empty segments. The empty path is the volume itself. */
  readonly path: string
  /** The size of an upload in bytes; absent if the request does not say it. */
  readonly size?: number | undefined
}

/**
 * A volume whose calls run as the user. A request without a token is a 401.
 *
 * @since 0.1.0
 * @category models
 */
export interface UserVolume {
  /** The path of a volume, or of a directory in one. */
  readonly path: string
  readonly runsAs?: "user" | undefined
  /** The largest upload; a larger one is a 413, and nothing is stored. Defaults to 5 GiB. */
  readonly maxUploadSize?: ByteSize.Input | undefined
}

/**
 * A volume whose calls run as the app, after a policy has allowed them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServiceVolume extends Omit<UserVolume, "runsAs"> {
  readonly runsAs: "service"
  /** Decides which requests the app serves. Defaults to `Policy.readOnly`. */
  readonly policy?: Policy<Action, Resource> | undefined
}

/**
 * The options of the routes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The volumes by the name that requests have. A path alone is a volume whose calls run as the user. */
  readonly volumes: Readonly<Record<string, string | UserVolume | ServiceVolume>>
  /** The time limit of a request; of a file that is sent, until its first byte. A later one is a 504. Defaults to 30 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** The time limit of an upload, from its first byte until it is stored. Defaults to 10 minutes. */
  readonly uploadTimeout?: Duration.Input | undefined
}

/**
 * Adds the routes, and the names of the volumes to the configuration of the page.
 *
 * - `GET /api/files/volumes` responds with `{ volumes }`, their names.
 * - `GET /api/files/:volume/list?path` responds with the entries of a directory; without `path`, of the volume.
 * - `GET /api/files/:volume/read?path` sends a file of up to 10 MiB as plain text; a larger one is a 413.
 * - `GET /api/files/:volume/download?path` and `/raw` send a file, or the range of the request. The browser shows a `raw`
 *   image, PDF or text in a sandbox; it saves every other file, such as HTML and SVG.
 * - `GET /api/files/:volume/exists?path`, `/metadata` and `/preview` describe a file or directory.
 * - `POST /api/files/:volume/upload?path` stores the body, also over an older file.
 * - `POST /api/files/:volume/mkdir` with `{ path }` creates a directory.
 * - `DELETE /api/files/:volume?path` removes a file or an empty directory; one with entries is a 409.
 *
 * A path is relative to its volume, or below the volume's absolute path, which entries have. Any other is a 400, and
 * nothing is cached. Throws a `RangeError` if the path of a volume is not one.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<never, never, HttpRouter.HttpRouter | Files | ClientConfig | ServiceContext> => {
  const volumes = volumesOf(options)
  return Layer.merge(
    Routes.layer("files", [Files], routes(volumes)),
    Layer.effectDiscard(
      ClientConfig.use(({ add }) => add("files", { config: { volumes: Object.keys(options.volumes) } }))
    )
  )
}
