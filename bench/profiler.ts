/** A profiler of the process that it is in. */
import type { HeapProfiler } from "node:inspector"
import { Session } from "node:inspector/promises"
import { PerformanceObserver } from "node:perf_hooks"

const session = new Session()
const pauses: Array<number> = []
const collector = new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) pauses.push(duration)
})

export type Question =
  /** `memory` asks for the memory as it is, and for the bytes in use after a collection of garbage. */
  | { readonly profile: "start" | "stop" | "memory" }
  /** `stop` returns the allocations since `start`. */
  | { readonly heap: "start" | "stop" }

export type Memory = NodeJS.MemoryUsage & { readonly bytes: number }

/** The bytes that a function has allocated when called by one path. */
export type Allocation = Pick<HeapProfiler.SamplingHeapProfileNode, "callFrame" | "selfSize">

export const reply = async (question: Question) => {
  if ("heap" in question) return question.heap === "start" ? startHeap() : stopHeap()
  const { profile } = question
  if (profile === "memory") {
    const usage = process.memoryUsage()
    const session = new Session()
    session.connect()
    await session.post("HeapProfiler.collectGarbage")
    session.disconnect()
    const { external, heapUsed } = process.memoryUsage()
    return { ...usage, bytes: heapUsed + external }
  }
  if (profile === "stop") {
    const found = await session.post("Profiler.stop")
    session.disconnect()
    collector.disconnect()
    return { ...found.profile, pauses: pauses.splice(0) }
  }
  collector.observe({ entryTypes: ["gc"] })
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.start")
  return {}
}

const startHeap = async () => {
  session.connect()
  await session.post("HeapProfiler.startSampling", {
    samplingInterval: 16_384,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true
  })
  return {}
}

const stopHeap = async () => {
  const { profile } = await session.post("HeapProfiler.stopSampling")
  session.disconnect()
  return allocationsOf(profile.head)
}

/** What a builtin allocates, such as the iterator of a `Map`, is that of the function that calls it. */
const allocationsOf = (
  { callFrame, children, selfSize }: HeapProfiler.SamplingHeapProfileNode,
  caller = callFrame
): ReadonlyArray<Allocation> => {
  const frame = callFrame.url === "" && caller.url !== "" ? caller : callFrame
  return [
    ...(selfSize > 0 ? [{ callFrame: frame, selfSize }] : []),
    ...children.flatMap((child) => allocationsOf(child, frame))
  ]
}
