/** Encodes the parameters of a job: values → texts by name or in order → the field of its task type. */
import { Effect, Schema, SchemaIssue } from "effect"
import { JobParametersError } from "../../JobRun.ts"
import type { Order, TaskType } from "../../Jobs.ts"

const fields: { readonly [Type in TaskType]: { readonly name: string; readonly isList: boolean } } = {
  job: { name: "job_parameters", isList: false },
  notebook: { name: "notebook_params", isList: false },
  python_wheel: { name: "python_named_params", isList: false },
  spark_python: { name: "python_params", isList: true },
  spark_jar: { name: "jar_params", isList: true },
  sql: { name: "sql_params", isList: false }
}

/** Returns the encoder of a job's parameters. Its errors name a parameter, and never contain a value. */
export const encoder = <S extends Schema.Constraint>(jobId: string, taskType: TaskType, schema: S) => {
  const encode = Schema.encodeEffect(Schema.toCodecStringTree(schema))
  const field = fields[taskType]
  const refuse = (why: string, parameter?: string) =>
    new JobParametersError({
      jobId,
      parameter,
      message: `The ${parameter === undefined ? "parameters" : `parameter "${parameter}"`} of the job ${jobId} ${why}`
    })
  return (values: S["Type"]): Order<S["EncodingServices"]>["parameters"] =>
    Effect.gen(function* () {
      const tree = yield* Effect.mapError(encode(values), ({ issue }) => {
        const segments = format(issue).issues[0]?.path ?? []
        const path = segments.map((segment) => String(typeof segment === "object" ? segment.key : segment))
        return refuse("does not match its Schema", path.length === 0 ? undefined : path.join("."))
      })
      if (typeof tree !== "object" || Array.isArray(tree) !== field.isList) {
        return yield* refuse(
          `must be ${field.isList ? "an array" : "a struct or a record"} for ${field.name}: change the Schema or the taskType`
        )
      }
      const given = Object.entries(tree).filter(([, value]) => value !== undefined)
      const nested = given.find(([, value]) => typeof value !== "string")?.[0]
      if (nested !== undefined) {
        return yield* refuse("is not a text, a number or a boolean: give it a Schema.fromJsonString", nested)
      }
      return { [field.name]: field.isList ? given.map(([, value]) => value) : Object.fromEntries(given) }
    })
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()
