/** Loaded before a server that is to be profiled. */
import { answer } from "./answer.ts"
import { reply } from "./profiler.ts"

answer(reply)
