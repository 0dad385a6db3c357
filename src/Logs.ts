/**
 * The log of an application on stdout: one line for each request, as JSON for machines or in colors for a terminal.
 *
 * @since 0.1.0
 */
import { Config, Effect, Layer, Logger, LogLevel, References, Schema, SchemaTransformation } from "effect"
import * as Bounds from "./internal/bounds.ts"
import * as Format from "./internal/logs/format.ts"
import * as Loggers from "./internal/logs/loggers.ts"
import * as Requests from "./internal/logs/requests.ts"
import * as Writer from "./internal/logs/writer.ts"

/**
 * The format of the log, its level, and the requests that it excludes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Defaults to `"pretty"` if stdout is a terminal, and to `"json"` otherwise. */
  readonly format?: "json" | "pretty" | undefined
  /** The least level that is logged and exported. Defaults to `"Info"`. */
  readonly level?: LogLevel.LogLevel | undefined
  /** Exact paths, such as `"/health"`, whose requests have no line unless they fail with a 5xx. */
  readonly exclude?: ReadonlyArray<string> | undefined
}

/**
 * Writes every log entry as one line to stdout, and adds one line for each request that `App.layerHttpServer` serves.
 *
 * The line of a request has `method`, `route` (the path pattern), `status`, `ms`, `request_id` (the proxy's
 * `x-request-id`, or a new one), `trace_id` and `span_id`. Under `AsUser` and `AsService` it also has `execution.context`,
 * `caller.id` and `enduser.id`. A failed request has `error`, `reason`, `operation.name`, `db.query.text` and `cause`, without
 * the values of its statement. A 5xx and an incomplete body are errors. A client that disconnects is a 499, not an error.
 * A body that the closing server cuts off is not an error either.
 *
 * It replaces Effect's request log, even if that is disabled. `HttpMiddleware.withLoggerDisabled` excludes a route, as
 * `exclude` does. Query strings, headers, bodies and tokens are never logged.
 *
 * Lines are written every 20 ms or 64 KiB, when the process ends, and after an uncaught exception. If stdout is a pipe
 * without a reader, up to 8 MiB are buffered. Later lines are dropped, and a warning has their number.
 *
 * Fails with a `ConfigError` that names the invalid option.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      yield* Bounds.check("Logs", options, {
        format: Bounds.text(/^(json|pretty)$/, "json or pretty"),
        level: Bounds.text(new RegExp(`^(${LogLevel.values.join("|")})$`), levels)
      })
      // Reading `stdout` makes its pipe non-blocking, so that a slow reader cannot block the process.
      const { isTTY } = process.stdout
      const name = nameOf(options.format)
      const format = name === "json" ? Format.json() : Format.pretty(isTTY)
      const writer = yield* Writer.make(1, Format.droppedLine(name))
      const write = (entry: Format.Entry) => writer.write(format(entry))
      const log = yield* Loggers.ApplicationLog
      yield* setLastLine(options.format)
      return Layer.mergeAll(
        Loggers.layer({ prints: true }),
        Layer.succeed(
          Loggers.Output,
          Logger.make((entry) => write(Format.entryOf(entry)))
        ),
        Layer.succeed(References.MinimumLogLevel, options.level ?? "Info"),
        Layer.succeed(Requests.Requests, Requests.make(write, new Set(options.exclude)))
      ).pipe(Layer.tap((references) => Effect.sync(() => (log.references = references))))
    })
  ).pipe(Layer.provide(Loggers.ApplicationLog.layer))

/**
 * `layer` with `LOG_LEVEL` (a level of Effect, in either case) and `LOG_FORMAT` (`json` or `pretty`). `overrides` take
 * precedence.
 *
 * Fails with a `ConfigError` that names the invalid variable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (overrides: Partial<Options> = {}): Layer.Layer<never, Config.ConfigError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      // Before a wrong variable can fail the start.
      yield* setLastLine(overrides.format)
      const format =
        overrides.format ??
        (yield* Bounds.variable("LOG_FORMAT", (name) => Config.Literals(formats, name), `one of ${formats.join(", ")}`))
      yield* setLastLine(format)
      return layer({
        format,
        level: overrides.level ?? (yield* Bounds.variable("LOG_LEVEL", (name) => Config.schema(Level, name), levels)),
        exclude: overrides.exclude
      })
    })
  )

const nameOf = (format: Options["format"]) => format ?? (process.stdout.isTTY ? "pretty" : "json")

/** Sets the format of the line with which a failed start ends. */
const setLastLine = (format: Options["format"]) =>
  Effect.map(Loggers.LastLine, (last) => {
    if (last !== undefined) last.format = nameOf(format) === "json" ? Format.json() : undefined
  })

/** A level in either case. */
const Level = Schema.String.pipe(
  Schema.decodeTo(
    Schema.String,
    SchemaTransformation.transform({
      decode: (name) => name.trim().charAt(0).toUpperCase() + name.trim().slice(1).toLowerCase(),
      encode: (name) => name
    })
  ),
  Schema.decodeTo(Schema.Literals(LogLevel.values))
)

const levels = `one of ${LogLevel.values.join(", ")}`

const formats = ["json", "pretty"] as const
