/**
 * An error that the endpoint of an HttpApi does not declare, which needs a cast. Effect responds with a defect, the failure
 * to encode that error, which does not contain it.
 */
import { Cause, Context, Predicate, Schema } from "effect"
import { HttpServerRequest } from "effect/http"

/** The last failure of each request's handler, by `source`, which all copies of the request share. */
const failures = new WeakMap<object, Cause.Cause<unknown>>()

const sourceIn = (context: Context.Context<never>): object | undefined =>
  Context.getOrUndefined(context, HttpServerRequest.HttpServerRequest)?.source

/** Keeps the failure of a handler, which Effect may fail to encode. */
export const keep = (context: Context.Context<never>, cause: Cause.Cause<unknown>): void => {
  const source = sourceIn(context)
  if (source !== undefined) failures.set(source, cause)
}

/** The kept failure in the place of the one to encode it, with a sentence for the author. */
export const restored = (
  context: Context.Context<never>,
  cause: Cause.Cause<unknown>
): { readonly cause: Cause.Cause<unknown>; readonly message: string } | undefined => {
  const error = Cause.squash(cause)
  if (!Schema.isSchemaError(error) || Cause.hasFails(cause)) return undefined
  const source = sourceIn(context)
  const kept = source && failures.get(source)
  if (kept !== undefined && Cause.hasFails(kept)) {
    return { cause: kept, message: `The endpoint does not declare ${describe(Cause.squash(kept))}. ${remedy}` }
  }
  return error.message === "Expected never"
    ? { cause, message: `The endpoint does not declare the error that its handler failed with. ${remedy}` }
    : undefined
}

const remedy = "Declare it there; those of effect-databricks are declared by the middleware Failures on the Api"

const describe = (error: unknown) =>
  `the error ${Predicate.hasProperty(error, "_tag") ? String(error._tag) : "of its handler"}${error instanceof Error ? ` (${error.message})` : ""}`
