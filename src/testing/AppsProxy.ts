/**
 * A stand-in for the proxy of Databricks Apps, in front of an application on this machine. It signs users of the local
 * workspace in and adds the `x-forwarded-*` headers to their requests.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer } from "effect"
import * as HttpServer from "effect/http/HttpServer"
import { LocalWorkspace, LocalWorkspaceError } from "./LocalWorkspace.ts"
import * as Server from "./appsProxy/server.ts"

/**
 * The options of the proxy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The port for the browser; 0 is a free one. Defaults to 8000. */
  readonly port?: number | undefined
}

/**
 * A running proxy.
 *
 * @since 0.1.0
 * @category services
 */
export class AppsProxy extends Context.Service<
  AppsProxy,
  {
    /** The address for a browser: `http://localhost:8000`. */
    readonly origin: string
  }
>()("effect-databricks/testing/AppsProxy") {}

/**
 * Serves the application of the `HttpServer` on its own port of the loopback interface.
 *
 * A browser without a signed-in user is redirected to `/.apps/`, which lists the users. `/.apps/as/alice@example.com`, or
 * `/.apps/as/alice` for short, signs a user in; `/.apps/out` signs the user out. A cookie keeps the choice; `curl` sends it
 * with `--cookie databricks-apps-user=alice`. Any other request without a user is a 401.
 *
 * The proxy removes its cookie, and replaces the headers that it owns if a client sends them. It passes bodies, server-sent
 * events and WebSockets on without buffering. A request whose `Host` is not `localhost` or a loopback address is a 403, so
 * that pages of other sites cannot use the proxy.
 *
 * Fails with a `LocalWorkspaceError` if the port is taken.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<AppsProxy, LocalWorkspaceError, HttpServer.HttpServer | LocalWorkspace> =>
  Layer.effect(
    AppsProxy,
    Effect.gen(function* () {
      const { address } = yield* HttpServer.HttpServer
      if (!("port" in address)) {
        return yield* new LocalWorkspaceError({
          message: "AppsProxy cannot reach an application on a Unix socket: let its HttpServer listen on a TCP port"
        })
      }
      const port = options.port ?? 8000
      const { origin, serve } = yield* Server.listen(port)
      yield* serve(address.port, yield* LocalWorkspace)
      yield* Effect.logInfo(`Sign in at ${origin}/.apps/`)
      return { origin }
    }).pipe(Effect.mapError((cause) => new LocalWorkspaceError({ message: cause.message, cause })))
  )
