/** Loaded before a server that is to be profiled. With `?start` it profiles from here on. */
import { answer } from "./answer.ts"
import { reply } from "./profiler.ts"

if (import.meta.url.endsWith("?start")) await reply({ profile: "start" })
answer(reply)
