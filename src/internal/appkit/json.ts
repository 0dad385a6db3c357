/** The JSON of a front end with exact numbers. */
import { Effect } from "effect"
import { HttpServerRequest } from "effect/http"
import * as ExactJson from "../workspace/exactJson.ts"
import * as Failure from "./failure.ts"

/** Parses the body of a request, or fails with 400. */
export const body = <A>(parse: (text: string) => A) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
    Effect.flatMap(request.text, (text) =>
      Effect.try({ try: () => parse(text), catch: () => Failure.refusal(400, "The body of the request is not JSON") })
    )
  )

/** Parses a text. An integer that a number would round becomes a bigint. */
export const withBigInts = (text: string): unknown =>
  ExactJson.parse(text, (digits) => (/^-?\d+$/.test(digits) ? BigInt(digits) : Number(digits)))

/** Parses a text whose numbers `JSON.stringify` will write as they were. */
export const verbatim = (text: string): unknown =>
  ExactJson.parseWith(text, (value, source) => (String(value) === source ? value : rawJson(source)))

// TypeScript's library does not declare it yet.
const { rawJSON: rawJson } = JSON as unknown as { readonly rawJSON: (text: string) => unknown }
