/** A profiler of the process that it is in. */
import { Session } from "node:inspector/promises"

const session = new Session()

export interface Question {
  readonly profile: "start" | "stop"
}

export const reply = async ({ profile }: Question) => {
  if (profile === "stop") return (await session.post("Profiler.stop")).profile
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.start")
  return {}
}
