/**
 * The loggers of `Logs` and of `Telemetry`. Each of the two layers sets its reference and both of these loggers, which read
 * the references: so the layers may stand in any order, or side by side.
 */
import { Context, Effect, Layer, Logger } from "effect"
import type { Format } from "./format.ts"

type Destination = Logger.Logger<unknown, void>

/** Writes to stdout: Effect's own unless there are `Logs`. */
export const Output = Context.Reference<Destination>("effect-databricks/logs/Output", {
  defaultValue: () => Logger.defaultLogger
})

/** Exports to the collector, where there is `Telemetry`. */
export const Collector = Context.Reference<Destination | undefined>("effect-databricks/logs/Collector", {
  defaultValue: () => undefined
})

/**
 * The references that `Logs` sets, for the lines of `Telemetry` itself, which is built before `Logs` or beside them. The
 * layers of one application share it.
 */
export class ApplicationLog extends Context.Service<ApplicationLog, { references: Context.Context<never> }>()(
  "effect-databricks/logs/ApplicationLog"
) {
  static readonly layer = Layer.sync(ApplicationLog, () => ({ references: Context.empty() }))
}

export const printed: Destination = Logger.make((entry) => entry.fiber.getRef(Output).log(entry))

export const exported: Destination = Logger.make((entry) => entry.fiber.getRef(Collector)?.log(entry))

/** Adds them to the loggers of the application. Without `prints` there is one on stdout only where Effect's own was. */
export const layer = ({ prints }: { readonly prints: boolean }) =>
  Layer.effect(
    Logger.CurrentLoggers,
    Effect.withFiber((fiber) => {
      const loggers = new Set(fiber.getRef(Logger.CurrentLoggers))
      if (loggers.delete(Logger.defaultLogger) || prints) loggers.add(printed)
      return Effect.succeed(loggers.add(exported))
    })
  )

/** The format of the last line of the process, which `App.runMain` writes to stderr when the loggers have closed. */
export interface LastLine {
  format: Format | undefined
}

/** `App.runMain` provides it, and `Logs` sets its format. */
export const LastLine = Context.Reference<LastLine | undefined>("effect-databricks/logs/LastLine", {
  defaultValue: () => undefined
})
