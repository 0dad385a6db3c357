import { Data } from "effect"

/** The error of a local workspace that did not start. */
export class StartError extends Data.TaggedError("StartError")<{
  readonly message: string
  readonly cause?: unknown
}> {}
