/**
 * The HTTP server and the main function of an application on Databricks Apps.
 *
 * @since 0.1.0
 */
// First: the others do not load on an older Node.
// oxlint-disable-next-line import/no-unassigned-import -- it fails the start
import "./internal/app/supported.ts"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import {
  ByteSize,
  Cause,
  Config,
  ConfigProvider,
  Context,
  Duration,
  Effect,
  Exit,
  Layer,
  Option,
  Runtime
} from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpServer from "effect/http/HttpServer"
import type * as Http from "node:http"
import type { Socket } from "node:net"
import * as ClientError from "./internal/app/clientError.ts"
import * as UnreadBody from "./internal/app/unreadBody.ts"
import * as Bounds from "./internal/bounds.ts"
import type { Format } from "./internal/logs/format.ts"
import * as Loggers from "./internal/logs/loggers.ts"
import * as Requests from "./internal/logs/requests.ts"
import { messageOf } from "./internal/message.ts"
import { http } from "./internal/nodeHttp.ts"

/**
 * The address, the limits and the shutdown of the HTTP server.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpServerOptions {
  /** The port to listen on; 0 takes a free one. Defaults to `DATABRICKS_APP_PORT`, else 8000. */
  readonly port?: number | undefined
  /** The address to listen on. Defaults to `DATABRICKS_APP_HOST`, else `"0.0.0.0"`. */
  readonly host?: string | undefined
  /**
   * The largest request body that a handler can read; a larger one is a 413. Also the largest WebSocket message; a
   * larger one closes the socket with code 1009. Defaults to 1 MB.
   */
  readonly maxBodySize?: ByteSize.Input | undefined
  /** The time that requests in flight have to finish when the server closes. Defaults to 8 seconds. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Provides a Node HTTP server, and the platform services for serving. It lets requests in flight finish when it closes.
 *
 * When it closes, the server accepts requests for another half second if a connection is open, with `Connection: close`
 * in each response. Then it stops listening and closes idle connections. After the grace period, it interrupts the
 * requests that still run and closes their connections. One line of the log says how many requests are in flight.
 *
 * The headers of a request may take 15 seconds and 64 KiB, and the body 120 seconds. Longer headers are a 431, a slower
 * request a 408, and a request that is not HTTP a 400, each with `{ _tag, message }` and one line in the log.
 *
 * Fails with a `ConfigError` that names the invalid option or variable, or the port that is taken.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHttpServer = (options: HttpServerOptions = {}) =>
  Layer.merge(Layer.effect(HttpServer.HttpServer, makeHttpServer(options)), NodeHttpServer.layerHttpServices)

const makeHttpServer = Effect.fnUntraced(function* (options: HttpServerOptions) {
  yield* Bounds.check("App.layerHttpServer", options, {
    port: Bounds.integer(0, 65_535),
    maxBodySize: (size) =>
      Option.isSome(ByteSize.fromInput(size as ByteSize.Input)) ? undefined : 'a size, such as "1 MB"',
    gracePeriod: Bounds.duration("moment")
  })
  const port = options.port ?? (yield* Bounds.appPort) ?? 8000
  const host = options.host ?? (yield* Config.withDefault(Config.NonEmptyString("DATABRICKS_APP_HOST"), "0.0.0.0"))
  const maxBodySize =
    options.maxBodySize === undefined ? ByteSize.megabytes(1) : ByteSize.fromInputUnsafe(options.maxBodySize)
  const node = http.createServer({
    headersTimeout: 15_000,
    // The Databricks Apps proxy has the same limit for a whole request.
    requestTimeout: 120_000,
    // Longer than proxies keep a connection, so that the server never closes one under a new request.
    keepAliveTimeout: 90_000,
    connectionsCheckingInterval: 5_000,
    maxHeaderSize: ClientError.maxHeadBytes
  })
  const runFork = Effect.runForkWith(yield* Effect.context<never>())
  ClientError.answer(node, (line) => void runFork(Effect.logWarning(line)))
  const closing = closer(node)
  const gracePeriod = Duration.fromInputUnsafe(options.gracePeriod ?? "8 seconds")
  const limit = `gracePeriod: ${Duration.format(gracePeriod)}`
  const announced = Effect.suspend(() =>
    Effect.logInfo(`The server closes (requests in flight: ${closing.inFlight()}, ${limit})`)
  )
  const close = yield* Effect.cached(Effect.andThen(announced, closing.close))
  // The server listens before its routes are built: requests in between wait for them.
  const early: Array<[Http.IncomingMessage, Http.ServerResponse]> = []
  const hold = (...request: (typeof early)[number]) => void early.push(request)
  node.on("request", hold)
  const redacted = yield* Headers.CurrentRedactedNames
  const server = yield* NodeHttpServer.make(() => node, {
    port,
    host,
    disablePreemptiveShutdown: true,
    // Defaults to 100 MiB.
    websocket: { maxPayload: Number(maxBodySize) }
  }).pipe(
    Effect.mapError(({ cause }) => {
      const name = options.port === undefined ? "DATABRICKS_APP_PORT" : "the option port"
      const message = `App.layerHttpServer cannot listen on ${host}, port ${port} (${messageOf(cause)}). Set ${name} to a port that is free`
      return new Config.ConfigError(new ConfigProvider.SourceError({ message, cause }))
    })
  )
  // Runs after the fibers of all requests have ended, so that no open connection delays closing.
  yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
  return HttpServer.make({
    address: server.address,
    serve: (app, middleware) =>
      // The finalizer added last runs first: requests finish while their fibers live.
      Effect.andThen(
        Effect.gen(function* () {
          const logging = yield* Requests.Requests
          const around = logging === undefined ? middleware : logging(middleware, closing.isClosing)
          const served = UnreadBody.closing(app)
          const serving = around === undefined ? server.serve(served) : server.serve(served, around)
          yield* Effect.updateContext(serving, roomy<Effect.Services<typeof serving>>)
          node.off("request", hold)
          for (const request of early.splice(0)) node.emit("request", ...request)
        }),
        Effect.addFinalizer(() => Effect.timeoutOption(close, gracePeriod))
      ).pipe(
        Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBodySize),
        // Keeps the token out of logs and traces of a request, as `authorization` is.
        Effect.provideService(Headers.CurrentRedactedNames, [...redacted, "x-forwarded-access-token"])
      )
  })
})

/** A request adds several services to the context of the server, which by default is copied at the ninth. */
const roomy = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.makeUnsafe(context.mapUnsafe, { maxDepth: 32 })

// Node's close ends idle connections, but not those that have sent nothing yet, and not those that become idle later.
const closer = (node: Http.Server) => {
  const connections = new Set<Socket>()
  // The last pipelined response of each connection; Node itself tracks only the current one.
  const pipelined = new WeakMap<Socket, Http.ServerResponse>()
  let closing = false
  node.on("connection", (socket) => {
    connections.add(socket)
    socket.once("close", () => connections.delete(socket))
  })
  const makeLast = (answer: Http.ServerResponse) => {
    answer.shouldKeepAlive = false
    // A response whose head was sent before closing began has promised keep-alive.
    answer.once("close", () => setImmediate(() => node.closeIdleConnections()))
  }
  const track = ({ socket }: Http.IncomingMessage, answer: Http.ServerResponse) => {
    if (closing) makeLast(answer)
    else if (answerOn(socket) !== answer) pipelined.set(socket, answer)
  }
  node.on("request", track).on("checkContinue", track)
  const close = Effect.callback<void>((resume) => {
    closing = true
    for (const socket of connections) {
      const later = pipelined.get(socket)
      const answer = later === undefined || later.writableFinished ? answerOn(socket) : later
      if (answer) makeLast(answer)
    }
    const shut = () => {
      node.close(() => resume(Effect.void))
      // A new connection may have a request on its way.
      setTimeout(() => {
        for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
      }, onItsWay).unref()
    }
    // An idle connection may have a request on its way too, which is answered if it arrives in this time.
    const hearing = setTimeout(shut, connections.size === 0 ? 0 : onItsWay)
    return Effect.sync(() => {
      clearTimeout(hearing)
      shut()
    })
  })
  return {
    close,
    isClosing: () => closing,
    /** Requests that are pipelined on one connection count once. */
    inFlight: () => [...connections].filter(answerOn).length
  }
}

// Node has no public name for it. Keeping responses in a map instead would delay the collection of their requests.
const answerOn = (socket: Socket & { readonly _httpMessage?: Http.ServerResponse | null }) => socket._httpMessage

/** How long a request may be on its way, in milliseconds. */
const onItsWay = 500

/**
 * Runs an application as the main program: a layer until the process is stopped, an effect until it ends.
 *
 * SIGTERM or Ctrl-C interrupts the application, closes its layers and exits with 0. Another Ctrl-C exits at once with
 * 130, unless it comes within half a second. If closing takes longer than `closeTimeout`, the process says so on stderr
 * and exits with 1. `closeTimeout` defaults to 14 seconds, because Databricks Apps kills the process after 15. A failure
 * prints its message as one line on stderr, a defect its stack; both exit with 1. If `Logs` have the format `json`, the
 * line is JSON with the level `FATAL`.
 *
 * @since 0.1.0
 * @category running
 */
export const runMain = (
  main: Layer.Layer<never, unknown> | Effect.Effect<unknown, unknown>,
  options?: { readonly closeTimeout?: Duration.Input | undefined }
): void => {
  const last: Loggers.LastLine = { format: undefined }
  const quit = (message: string, cause: Cause.Cause<unknown> = Cause.empty) => {
    process.stderr.write(`${lineOf(last.format, message, cause)}\n`)
    process.exit(1)
  }
  // The reader of a log may end before the application, and a disk may be full.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})
  Runtime.makeRunMain(({ fiber }) => {
    const closeTimeout = Duration.fromInputUnsafe(options?.closeTimeout ?? "14 seconds")
    let told: number | undefined
    const stop = (signal: NodeJS.Signals) => {
      if (told === undefined) {
        told = performance.now()
        setTimeout(
          () => quit(`The application did not close within ${Duration.format(closeTimeout)} (closeTimeout)`),
          Duration.toMillis(closeTimeout)
        )
        fiber.interruptUnsafe()
      } else if (signal === "SIGINT" && performance.now() - told > 500) {
        // One Ctrl-C under `npm start` arrives twice: from the terminal and from npm.
        process.exit(130)
      }
    }
    process.on("SIGINT", stop).on("SIGTERM", stop)
    fiber.addObserver((exit) => {
      const asked = Exit.isSuccess(exit) || (told !== undefined && Cause.hasInterruptsOnly(exit.cause))
      return asked ? process.exit(0) : quit(messageIn(exit.cause), exit.cause)
    })
  })(Effect.provideService(Effect.isEffect(main) ? main : Layer.launch(main), Loggers.LastLine, last), {
    disableErrorReporting: true
  })
}

/** Without a format: the message of a failure, or the stack of a defect. */
const lineOf = (format: Format | undefined, message: string, failure: Cause.Cause<unknown>): string => {
  const cause = Cause.hasFails(failure) ? Cause.empty : failure
  if (format === undefined) return cause.reasons.length === 0 ? message : Cause.pretty(cause)
  return format({ date: new Date(), logLevel: "Fatal", message, annotations: {}, span: undefined, cause })
}

const messageIn = (cause: Cause.Cause<unknown>): string => messageOf(Cause.squash(cause)).replaceAll(/\s*\n\s*/g, " ")
