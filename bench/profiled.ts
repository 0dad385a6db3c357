/** Loaded before a server that is to be profiled: it begins when it is asked to, and answers the profile. */
import { Session } from "node:inspector/promises"
import { answer } from "./child.ts"

const session = new Session()
session.connect()

answer(async ({ profile }: { readonly profile?: "start" | "stop" }) => {
  switch (profile) {
    case "start":
      await session.post("Profiler.enable")
      await session.post("Profiler.start")
      return {}
    case "stop":
      return (await session.post("Profiler.stop")).profile
    case undefined:
      return undefined
  }
})
