import { Data } from "effect"

/** Why the local workspace did not start. */
export class StartError extends Data.TaggedError("StartError")<{
  readonly message: string
  readonly cause?: unknown
}> {}
