/** The failure of a body whose connection is closed on purpose. Its reason is in the log already, if it has one. */
import { Data } from "effect"

export class Cut extends Data.TaggedError("Cut")<{ readonly message: string }> {}
