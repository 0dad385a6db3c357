/** The parameters of a request: `params` in the form of AppKit → the values of the job's Schema. */
import { Effect, Schema } from "effect"
import { HttpServerRequest } from "effect/http"
import type { Definition } from "../../../appkit/Jobs.ts"
import * as HttpFailure from "../../../http/HttpFailure.ts"

type Job = Definition["job"]

const hasArguments = ({ taskType }: Job) => taskType === "spark_python" || taskType === "spark_jar"

/** The Schema of `params`: an object, in which parameters without names are `args`. */
export const wire = (job: Job): Schema.ConstraintCodec<unknown, unknown> =>
  hasArguments(job) ? Schema.Struct({ args: job.parameters }) : isEmpty(job.parameters) ? none : job.parameters

// `Schema.Struct({})` accepts every property.
const none = Schema.Record(Schema.String, Schema.Never)
const isEmpty = ({ ast }: Schema.Constraint) =>
  ast._tag === "Objects" && ast.propertySignatures.length + ast.indexSignatures.length === 0

/** Returns the effect that decodes the body of a request, and fails with a 400 that names the field. */
export const reader = (job: Job) => {
  // A parameter that the Schema does not know would be lost without a word.
  const decode = Schema.decodeUnknownEffect(Schema.Struct({ params: Schema.toCodecJson(wire(job)) }), {
    onExcessProperty: "error"
  })
  const absent = hasArguments(job) ? { args: [] } : {}
  return Effect.gen(function* () {
    const { text } = yield* HttpServerRequest.HttpServerRequest
    const { params: given } = yield* parse((yield* text).trim() || "{}")
    const { params } = yield* decode({ params: given ?? absent })
    const parameters = hasArguments(job) ? (params as { readonly args: unknown }).args : params // as `wire` decodes it
    const order = job.with(parameters as never) // a value of the job's Schema
    return { parameters, order }
  }).pipe(HttpFailure.orBadRequest)
}

const parse = Schema.decodeEffect(Schema.fromJsonString(Schema.Struct({ params: Schema.optional(Schema.Unknown) })))
