/** The part of the jobs in the client config: for each its JSON Schema and AppKit's name of its task type. */
import { Record, Schema } from "effect"
import type { Options } from "../../../appkit/Jobs.ts"
import type { TaskType } from "../../../Jobs.ts"
import * as Parameters from "./parameters.ts"

const taskTypes: { readonly [Type in TaskType]: string | null } = {
  job: null, // AppKit has none for job_parameters
  notebook: "notebook",
  python_wheel: "python_wheel",
  spark_python: "python_script",
  spark_jar: "spark_jar",
  sql: "sql"
}

export const of = ({ jobs }: Options): Schema.Json => ({
  jobs: Record.map(jobs, ({ job }) => ({
    params: jsonSchemaOf(Parameters.wire(job)),
    taskType: taskTypes[job.taskType]
  }))
})

const jsonSchemaOf = (schema: Schema.Constraint): Schema.Json => {
  const document = Schema.toJsonSchemaDocument(schema, { onExcessProperty: "error" })
  const hasDefinitions = Object.keys(document.definitions).length > 0
  // A JSON Schema is JSON, which its type does not say.
  return { ...document.schema, ...(hasDefinitions && { $defs: document.definitions }) } as Schema.Json
}
