/**
 * Writes lines to a file descriptor: one write for the lines of 20 ms or 64 KiB, and the rest when the process ends.
 *
 * `process.stdout` would lose the lines that it buffers for a slow pipe when the process ends, and its buffer has no bound.
 */
import { Effect } from "effect"
import { writeSync } from "node:fs"

/** The most characters that wait for a slow reader. Later lines are dropped, and counted. */
export const maxWaiting = 8 * 1024 * 1024

/** As many characters are written at once, whatever the time. */
const maxBatch = 64 * 1024

/** How long lines wait for each other, and for a full pipe: a write costs as much as several lines. */
const batchMillis = 20

/** The longest that a process which ends waits for the reader of a full pipe. */
const maxLastMillis = 1_000

export interface Writer {
  readonly write: (line: string) => void
}

/** `droppedLine` makes the line that tells how many were dropped. */
export const make = (fd: number, droppedLine: (count: number) => string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const writer = new FdWriter(fd, droppedLine)
      process.on("exit", writer.end)
      return writer
    }),
    (writer) =>
      Effect.sync(() => {
        writer.end()
        process.off("exit", writer.end)
      })
  )

class FdWriter implements Writer {
  private waiting = ""
  /** The unwritten rest of the last write. */
  private rest: Buffer | undefined
  private dropped = 0
  private scheduled = false
  private ended = false
  private readonly fd: number
  private readonly droppedLine: (count: number) => string
  constructor(fd: number, droppedLine: (count: number) => string) {
    this.fd = fd
    this.droppedLine = droppedLine
  }

  write(line: string): void {
    if (this.waiting.length + (this.rest?.length ?? 0) > maxWaiting) {
      this.dropped++
      return
    }
    this.waiting += `${line}\n`
    if (this.ended || (this.waiting.length > maxBatch && this.rest === undefined)) this.flush()
    else this.schedule()
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    setTimeout(this.flush, batchMillis).unref()
  }

  /** Writes as much as the descriptor accepts, and schedules the rest. */
  private readonly flush = (): void => {
    this.scheduled = false
    if (!this.drain()) this.schedule()
  }

  /** Writes all, or as much as the reader takes in time. From now on each line is written at once. */
  readonly end = (): void => {
    this.ended = true
    for (const began = performance.now(); !this.drain() && performance.now() - began < maxLastMillis;) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }

  /** Whether all is written. */
  private drain(): boolean {
    for (;;) {
      if (this.rest === undefined) {
        if (this.dropped > 0) {
          this.waiting += `${this.droppedLine(this.dropped)}\n`
          this.dropped = 0
        }
        if (this.waiting === "") return true
        this.rest = Buffer.from(this.waiting)
        this.waiting = ""
      }
      try {
        const written = writeSync(this.fd, this.rest)
        this.rest = written < this.rest.length ? this.rest.subarray(written) : undefined
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException // Node throws no other
        if (code === "EAGAIN") return false
        // The reader has ended, or the disk is full: the application continues without a log.
        this.rest = undefined
      }
    }
  }
}
