/** The commands of the package. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, FileSystem, Logger, Schema } from "effect"
import { Command } from "effect/cli"
import { fileURLToPath } from "node:url"
import { doctor } from "./doctor/command.ts"
import { generate } from "./generate/command.ts"

const Manifest = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

const version = FileSystem.FileSystem.use((files) =>
  Effect.flatMap(
    files.readFileString(fileURLToPath(new URL("../../package.json", import.meta.url))),
    Schema.decodeEffect(Manifest)
  )
).pipe(
  Effect.map((manifest) => manifest.version),
  // A bundle has no manifest.
  Effect.orElseSucceed(() => "unknown")
)

const main = Command.make("effect-databricks").pipe(
  Command.withDescription("Tools for Databricks Apps in Effect"),
  Command.withSubcommands([doctor, generate])
)

/** Runs the command that the arguments of the process name. */
export const run = () =>
  Effect.flatMap(version, (version) => Command.run(main, { version })).pipe(
    // Only the report is written to stdout.
    Effect.provide(Logger.layer([Logger.withConsoleError(Logger.formatSimple)])),
    Effect.provide(NodeServices.layer),
    NodeRuntime.runMain
  )
