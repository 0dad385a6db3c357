/**
 * The life of an application's process on Databricks Apps: its HTTP server and its main.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { ByteSize, Cause, Config, Duration, Effect, Exit, Layer, Result, Runtime } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as HttpServer from "effect/http/HttpServer"
import * as SqlError from "effect/sql/SqlError"
import * as Http from "node:http"
import type { Socket } from "node:net"

/**
 * How the HTTP server listens, what it refuses and how it closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpServerOptions {
  /** `DATABRICKS_APP_PORT` unless given, and 8000 without that. */
  readonly port?: number | undefined
  /** `"0.0.0.0"` unless given. */
  readonly host?: string | undefined
  /** The largest request body that a handler can read, 1 MB unless given; above it the answer is a 413. */
  readonly maxBodySize?: ByteSize.Input | undefined
  /** How long requests in flight may run on when the server closes: 8 seconds unless given. */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * A Node HTTP server, with the platform services that serving needs, which lets requests in flight finish when it closes.
 *
 * Closing answers what comes for half a second more, and tells with each answer that the connection ends; then it
 * refuses new connections and ends idle ones. What still runs after the grace period is interrupted and its connection
 * cut. A request's headers may take 15 seconds and its body 120.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHttpServer = (options: HttpServerOptions = {}) =>
  Layer.merge(Layer.effect(HttpServer.HttpServer, makeHttpServer(options)), NodeHttpServer.layerHttpServices)

const makeHttpServer = Effect.fnUntraced(function* (options: HttpServerOptions) {
  const port = options.port ?? (yield* Config.withDefault(Config.Port("DATABRICKS_APP_PORT"), 8000))
  const maxBodySize =
    options.maxBodySize === undefined ? ByteSize.megabytes(1) : ByteSize.fromInputUnsafe(options.maxBodySize)
  const node = Http.createServer({
    headersTimeout: 15_000,
    // What the Databricks Apps proxy gives a whole request.
    requestTimeout: 120_000,
    // Longer than a proxy keeps a connection, so that it is never the server that closes one under a new request.
    keepAliveTimeout: 90_000,
    connectionsCheckingInterval: 5_000
  })
  const close = yield* Effect.cached(closer(node))
  // It listens before the routes are there: what comes in between waits for them.
  const early: Array<[Http.IncomingMessage, Http.ServerResponse]> = []
  const hold = (...request: (typeof early)[number]) => void early.push(request)
  node.on("request", hold)
  const redacted = yield* Headers.CurrentRedactedNames
  const server = yield* NodeHttpServer.make(() => node, {
    port,
    host: options.host ?? "0.0.0.0",
    disablePreemptiveShutdown: true
  })
  // Runs after the fibers of all requests have ended, so that what is left of a connection holds up nothing.
  yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
  return HttpServer.make({
    address: server.address,
    serve: (app, middleware) =>
      // The finalizer added last runs first: requests finish while their fibers live.
      Effect.andThen(
        Effect.tap(middleware === undefined ? server.serve(app) : server.serve(app, middleware), () =>
          Effect.sync(() => {
            node.off("request", hold)
            for (const request of early.splice(0)) node.emit("request", ...request)
          })
        ),
        Effect.addFinalizer(() => Effect.timeoutOption(close, options.gracePeriod ?? "8 seconds"))
      ).pipe(
        Effect.provideService(HttpIncomingMessage.MaxBodySize, maxBodySize),
        // A request that is logged, or traced with its headers, shows this one no more than it shows authorization.
        Effect.provideService(Headers.CurrentRedactedNames, [...redacted, "x-forwarded-access-token"])
      )
  })
})

// Node ends idle connections when it closes, but neither those that have sent nothing yet nor those that fall idle later.
const closer = (node: Http.Server): Effect.Effect<void> => {
  const connections = new Set<Socket>()
  // On each the last answer whose request came while another was answered; of one at a time Node knows.
  const pipelined = new WeakMap<Socket, Http.ServerResponse>()
  let closing = false
  node.on("connection", (socket) => {
    connections.add(socket)
    socket.once("close", () => connections.delete(socket))
  })
  const makeLast = (answer: Http.ServerResponse) => {
    answer.shouldKeepAlive = false
    // Those whose head had left before closing began promised to stay.
    answer.once("close", () => setImmediate(() => node.closeIdleConnections()))
  }
  const track = ({ socket }: Http.IncomingMessage, answer: Http.ServerResponse) => {
    if (closing) makeLast(answer)
    else if (answerOn(socket) !== answer) pipelined.set(socket, answer)
  }
  node.on("request", track).on("checkContinue", track)
  return Effect.callback<void>((resume) => {
    closing = true
    for (const socket of connections) {
      const later = pipelined.get(socket)
      const answer = later === undefined || later.writableFinished ? answerOn(socket) : later
      if (answer) makeLast(answer)
    }
    const shut = () => {
      node.close(() => resume(Effect.void))
      // A request may be on its way on a connection that is new.
      setTimeout(() => {
        for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
      }, onItsWay).unref()
    }
    // Nor can a request on an idle connection be told from none until it is read: whoever sends one now is answered.
    const hearing = setTimeout(shut, connections.size === 0 ? 0 : onItsWay)
    return Effect.sync(() => {
      clearTimeout(hearing)
      shut()
    })
  })
}

// Node has it under no public name, and whoever keeps an answer for longer keeps its request from dying young.
const answerOn = (socket: Socket & { readonly _httpMessage?: Http.ServerResponse | null }) => socket._httpMessage

/** How long a request may be on its way, in milliseconds. */
const onItsWay = 500

/**
 * Runs an application as the process: a layer for as long as it is told to, an effect to its end.
 *
 * SIGTERM or Ctrl-C interrupts it, and when all is closed the exit code is 0; a second Ctrl-C exits at once. Closing that
 * takes longer than `closeTimeout`, 14 seconds unless given (Databricks Apps kills after 15), exits with 1. A failure
 * prints its message as one line on stderr, a defect its stack, and exits with 1.
 *
 * @since 0.1.0
 * @category running
 */
export const runMain = (
  main: Layer.Layer<never, unknown> | Effect.Effect<unknown, unknown>,
  options?: { readonly closeTimeout?: Duration.Input | undefined }
): void =>
  Runtime.makeRunMain(({ fiber }) => {
    const closeTimeout = Duration.fromInputUnsafe(options?.closeTimeout ?? "14 seconds")
    let told: number | undefined
    const stop = (signal: NodeJS.Signals) => {
      if (told === undefined) {
        told = performance.now()
        setTimeout(
          () => quit(1, `Closing took longer than ${Duration.format(closeTimeout)}`),
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
      return asked ? process.exit(0) : quit(1, sentence(exit.cause))
    })
  })(Effect.isEffect(main) ? main : Layer.launch(main), { disableErrorReporting: true })

const quit = (code: number, message: string) => {
  process.stderr.write(`${message}\n`)
  process.exit(code)
}

const sentence = (cause: Cause.Cause<unknown>): string =>
  Result.match(Cause.findError(cause), {
    onSuccess: (error) => messageOf(error).replaceAll(/\s*\n\s*/g, " "),
    onFailure: () => Cause.pretty(cause)
  })

// Some errors leave it to their cause to say what happened: the database's driver says only that it could not connect.
const messageOf = (error: unknown): string => {
  if (SqlError.isSqlError(error) && error.reason.cause instanceof Error) {
    const said = messageOf(error.reason.cause)
    return error.message.includes(said) ? said : `${error.message}: ${said}`
  }
  if (error instanceof Config.ConfigError) return error.cause.message
  if (!(error instanceof Error)) return String(error)
  return error.message || (error.cause === undefined ? error.name : messageOf(error.cause))
}
