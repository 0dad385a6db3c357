/** The JSON of models: integers are exact, and fractions are rounded as every JSON parser does. */
import { Effect, Schema } from "effect"
import type { HttpClientResponse } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import * as ExactJson from "../workspace/exactJson.ts"
import { fitted, placeOf, refusalOf } from "../workspace/schemaJson.ts"
import * as Transport from "../workspace/transport.ts"

// Models print up to 20 digits of a float, which a Schema of numbers would refuse.
const number = (digits: string) => (/^-?\d+$/.test(digits) ? digits : Number(digits))

/** Parses a text. An integer beyond 2^53 becomes text. */
export const parse = (text: string): unknown => ExactJson.parse(text, number)

/** Returns the first integer of a text beyond 2^53, which another parser would round. */
export const roundedIn = (text: string): string | undefined => {
  let found: string | undefined
  try {
    ExactJson.parse(text, (digits) => {
      if (/^-?\d+$/.test(digits)) found ??= digits
    })
  } catch {
    // What is not JSON fails where it is decoded.
  }
  return found
}

/** Stands for JSON that is not decoded. */
export const Verbatim = Schema.String.annotate({ description: "The text of a JSON value" })

/** Returns the parser for a schema: text that is not decoded keeps its numbers in any case. */
export const parserOf = (schema: Schema.Constraint): ((text: string) => unknown) =>
  Object.is(schema, Verbatim) ? JSON.parse : parse

/** Decodes parsed JSON, given its text too. Fails with the place and the reason of a refusal. */
export const decoder = <S extends Schema.Constraint>(
  schema: S
): ((json: unknown, text: string) => Effect.Effect<S["Type"], string, S["DecodingServices"]>) => {
  if (Object.is(schema, Verbatim)) return (_, text) => Effect.succeed(text)
  const codec = Schema.toCodecJson(schema)
  const decode = Schema.decodeUnknownEffect(codec)
  const place = placeOf(codec.ast)
  return (parsed) => {
    const json = fitted(parsed, place)
    return Effect.mapError(decode(json), ({ issue }) => {
      const { message, path } = refusalOf(issue, json, place)
      return `JSON that does not match its schema: ${path.length === 0 ? "" : `"${path.join(".")}": `}${message}`
    })
  }
}

/** Decodes the body of a response. */
export const response = <S extends Schema.Constraint>(
  schema: S
): ((
  response: HttpClientResponse.HttpClientResponse
) => Effect.Effect<S["Type"], DatabricksError, S["DecodingServices"]>) => {
  const decode = decoder(schema)
  return Effect.fnUntraced(function* (answer: HttpClientResponse.HttpClientResponse) {
    const body = yield* Transport.text(answer)
    const json = yield* Transport.parsed(answer, body, () => parse(body))
    return yield* Effect.mapError(decode(json, body), (refusal) => Transport.invalid(answer, refusal))
  })
}
