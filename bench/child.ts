/** The processes of a measurement, and the CPU time and memory that Linux counts for them. */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, type Scope } from "effect"
import { fork as forkNode } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { end } from "./answer.ts"

export interface Child {
  readonly pid: number
  /** Sends a message and takes the next one that comes for its answer. */
  readonly ask: <A>(message: object) => Effect.Effect<A>
  readonly stop: Effect.Effect<void>
  /** The last of its log. */
  readonly tail: () => string
}

export interface ForkOptions {
  readonly args?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
  readonly execArgv?: ReadonlyArray<string>
}

/** Starts a module of `bench/` as a process that ends with the scope. */
export const fork = (module: string, options: ForkOptions = {}) =>
  Effect.acquireRelease(
    Effect.sync((): Child => {
      const child = forkNode(new URL(module, import.meta.url), [...(options.args ?? [])], {
        env: { PATH: "/usr/local/bin:/usr/bin:/bin", NODE_ENV: "production", ...options.env },
        execArgv: [...(options.execArgv ?? [])],
        // A platform reads the log of its applications through a pipe.
        stdio: ["ignore", "pipe", "inherit", "ipc"]
      })
      let tail = ""
      child.stdout!.on("data", (chunk: Buffer) => (tail = String(chunk.subarray(-2_000))))
      const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
      const ask = <A>(message: object) =>
        Effect.callback<A>((resume) => {
          const died = () => resume(Effect.die(new Error(`${module} has ended: ${tail}`)))
          child.once("exit", died)
          child.once("message", (answer) => {
            child.off("exit", died)
            // Both ends are in this folder.
            resume(Effect.succeed(answer as A))
          })
          child.send(message)
        })
      const stop = Effect.promise(() => {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM")
        const late = setTimeout(() => child.kill("SIGKILL"), 20_000)
        return ended.finally(() => clearTimeout(late))
      })
      return { pid: child.pid!, ask, stop, tail: () => tail }
    }),
    ({ stop }) => stop
  )

/** Runs a measurement until it ends, a signal stops it, or the parent process disconnects. */
export const main = <E>(measurement: Effect.Effect<void, E, Scope.Scope>) => {
  process.once("disconnect", end)
  process.channel?.unref()
  NodeRuntime.runMain(Effect.scoped(measurement))
}

const ticks = 100

const statOf = (pid: number) => {
  // The name before it may contain a parenthesis.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ")
  const seconds = (from: number) => (Number(fields[from]) + Number(fields[from + 1])) / ticks
  return { own: seconds(11), children: seconds(13) }
}

const missing = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined // it has ended meanwhile
  }
}

/** Seconds of CPU that a process has used. */
export const cpu = (pid: number) => statOf(pid).own

/** Seconds of CPU of a process and of all that it has started, those that have ended too. */
export const cpuOfFamily = (pid: number) => {
  const { children, own } = statOf(pid)
  return childrenOf(pid).reduce((sum, child) => sum + (missing(() => statOf(child).own) ?? 0), own + children)
}

/** Seconds of CPU that the whole machine has used. */
export const cpuOfMachine = () => {
  const [user, nice, system, , , irq, softirq] = readFileSync("/proc/stat", "utf8")
    .split("\n")[0]!
    .split(/ +/)
    .slice(1)
    .map(Number)
  return (user! + nice! + system! + irq! + softirq!) / ticks
}

const childrenOf = (pid: number): ReadonlyArray<number> =>
  readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(Number)
  )

/** Resident memory of a process in MiB: as it is, and the most it was. */
export const memory = (pid: number) => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  const mebibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024
  return { now: mebibytes("VmRSS"), peak: mebibytes("VmHWM") }
}
