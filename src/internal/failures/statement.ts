/**
 * Associates errors with their operation and statement, and causes with their caller, for the log only: responses, spans and the JSON
 * of the error do not show them. This module loads only `effect`.
 */
import { Cause, Context, Effect, References } from "effect"
import * as Undeclared from "./undeclared.ts"

/** The statement that failed. */
export interface Failed {
  /** The number of bound values. */
  readonly bound: number
  /** The annotations of its log line: operation, caller and text. */
  readonly annotations: Readonly<Record<string, unknown>>
}

const statements = new WeakMap<object, Failed>()

/** Returns the statement that an error is associated with. */
export const of = (error: unknown): Failed | undefined =>
  typeof error === "object" && error !== null ? statements.get(error) : undefined

/** The longest text in a log line. */
const maxText = 2_000

/** Fails with this error as that of a statement of the running operation. The error must not be shared. */
export const failed = <E extends object>(error: E, text: string, bound: number): Effect.Effect<never, E> =>
  Effect.withFiber((fiber) => {
    const query = text.length > maxText ? `${text.slice(0, maxText)}…` : text
    const annotations = { ...fiber.getRef(References.CurrentLogAnnotations), "db.query.text": query }
    statements.set(error, { bound, annotations })
    return Effect.fail(error)
  })

/** The names of the operations that errors come from. */
const operations = new WeakMap<object, string>()

/** Associates the failure of an operation with its name, unless it comes from an operation inside. */
export const nameFailure = (cause: Cause.Cause<unknown>, operation: string): void => {
  const error = Cause.squash(cause)
  if (typeof error === "object" && error !== null && !operations.has(error)) operations.set(error, operation)
}

/** The log annotations of a route's caller. */
const Ran = Context.Service<Readonly<Record<string, unknown>>>("effect-databricks/failures/Ran")

/** Adds the log annotations of a route to its causes, which are logged outside of the route. */
export const noted = <A, E, R>(route: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchCause(route, (cause) =>
    Effect.withFiber((fiber) => {
      Undeclared.keep(fiber.context, cause)
      return Effect.failCause(Cause.annotate(cause, Context.make(Ran, fiber.getRef(References.CurrentLogAnnotations))))
    })
  )

/** Returns the log annotations of a cause: its caller, and the operation and statement of the innermost error in it. */
export const annotationsOf = (cause: Cause.Cause<unknown>): Readonly<Record<string, unknown>> => {
  const annotations: Record<string, unknown> = { ...Context.getOrUndefined(Cause.annotations(cause), Ran) }
  let error = Cause.squash(cause)
  for (let depth = 0; depth < 8 && typeof error === "object" && error !== null; depth++) {
    const operation = operations.get(error)
    if (operation !== undefined) annotations["operation.name"] = operation
    Object.assign(annotations, of(error)?.annotations)
    error = error instanceof Error ? error.cause : undefined
  }
  return annotations
}
