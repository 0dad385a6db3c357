/** Fails the start on a runtime that the package does not run on, with a sentence. */
import { unsupported } from "./runtime.ts"

const sentence = unsupported(process.versions)
if (sentence !== undefined) throw new Error(sentence)
