/** A profiler of the process that it is in. */
import { Session } from "node:inspector/promises"
import { PerformanceObserver } from "node:perf_hooks"

const session = new Session()
const pauses: Array<number> = []
const collector = new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) pauses.push(duration)
})

export interface Question {
  readonly profile: "start" | "stop" | "memory"
}

export const reply = async ({ profile }: Question) => {
  if (profile === "memory") return process.memoryUsage()
  if (profile === "stop") return { ...(await session.post("Profiler.stop")).profile, pauses }
  collector.observe({ entryTypes: ["gc"] })
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.start")
  return {}
}
