/** A profiler of the process that it is in. */
import { Session } from "node:inspector/promises"
import { PerformanceObserver } from "node:perf_hooks"

const session = new Session()
const pauses: Array<number> = []
const collector = new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) pauses.push(duration)
})

export interface Question {
  /** `memory` asks for the memory as it is, and for the bytes in use after a collection of garbage. */
  readonly profile: "start" | "stop" | "memory"
}

export type Memory = NodeJS.MemoryUsage & { readonly bytes: number }

export const reply = async ({ profile }: Question) => {
  if (profile === "memory") {
    const usage = process.memoryUsage()
    const session = new Session()
    session.connect()
    await session.post("HeapProfiler.collectGarbage")
    session.disconnect()
    const { external, heapUsed } = process.memoryUsage()
    return { ...usage, bytes: heapUsed + external }
  }
  if (profile === "stop") return { ...(await session.post("Profiler.stop")).profile, pauses }
  collector.observe({ entryTypes: ["gc"] })
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.start")
  return {}
}
