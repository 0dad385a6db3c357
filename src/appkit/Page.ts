/**
 * Serves the built page of a front end, with the client config that the hooks of `@databricks/appkit-ui` read.
 *
 * ```ts
 * import { Layer } from "effect"
 * import * as ClientConfig from "effect-databricks/appkit/ClientConfig"
 * import * as Page from "effect-databricks/appkit/Page"
 *
 * export const PageLive = Page.layer({ root: "dist/web" }).pipe(Layer.provide(ClientConfig.layer))
 * ```
 *
 * @since 0.1.0
 */
import { Effect, Layer } from "effect"
import * as StaticFiles from "../http/StaticFiles.ts"
import * as ClientScript from "../internal/appkit/page/clientScript.ts"
import { ClientConfig } from "./ClientConfig.ts"

/**
 * The folder of the page, and the files that are cached for a year.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Omit<StaticFiles.Options, "transform"> {}

/**
 * Serves the files of `root` as `StaticFiles.layer` does, and adds `<script id="__appkit__" type="application/json">` with
 * the client config to each `index.html`.
 *
 * The script is the first of the page. It holds data and runs no code, so that a content security policy needs no
 * `'unsafe-inline'` for it. It holds the parts that plugins have added to `ClientConfig`, and nothing of the environment
 * but `DATABRICKS_APP_NAME`. The page is revalidated by an `ETag` of its content with the config.
 *
 * A missing file is a 404, also where the page's own router answers navigations.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options) =>
  Layer.unwrap(
    ClientConfig.useSync(({ current }) =>
      StaticFiles.layer({
        ...options,
        transform: (html) => Effect.map(current, (values) => ClientScript.insert(html, values))
      })
    )
  )
