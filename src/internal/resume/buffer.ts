/** The events of one stream, between its source and the client that reads it. */
import { Cause, Effect, Exit, Latch, type Pull } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Event } from "../../http/ResumableStreams.ts"

/** A client that reads, after the event with this number. */
export interface Reader {
  taken: number
}

export interface Buffer {
  /** Adds an event. Waits for room, which is made by dropping the oldest events that the reader has taken. */
  readonly offer: (event: Event) => Effect.Effect<void>
  /** Ends the stream, or lets it fail. */
  readonly end: (exit: Exit.Exit<void, unknown>) => void
  readonly hasEnded: () => boolean
  /** Whether the event after this number is kept, or is the next to come. */
  readonly has: (taken: number) => boolean
  readonly reader: () => Reader | undefined
  /** Replaces the reader, whose pull fails. Without a reader nothing is dropped. */
  readonly attach: (reader: Reader | undefined) => void
  /** Takes the next event. */
  readonly pull: (reader: Reader) => Pull.Pull<NonEmptyReadonlyArray<Uint8Array>, unknown>
}

export const make = (capacity: number, takenOver: Cause.Cause<unknown>): Buffer => {
  const events: Array<Event> = []
  const room = Latch.makeUnsafe()
  const news = Latch.makeUnsafe()
  let size = 0
  let dropped = -1
  let last = -1
  let exit: Exit.Exit<void, unknown> | undefined
  let current: Reader | undefined

  const makeRoom = (bytes: number) => {
    const taken = current?.taken ?? -1
    while (events.length > 0 && size + bytes > capacity) {
      const oldest = events[0]!
      if (oldest.number > taken) return
      events.shift()
      size -= oldest.bytes.length
      dropped = oldest.number
    }
  }
  // The numbers are consecutive.
  const after = (taken: number) => events[Math.max(0, taken - (events[0]?.number ?? 0) + 1)]

  const offer = (event: Event): Effect.Effect<void> =>
    Effect.suspend(() => {
      makeRoom(event.bytes.length)
      if (events.length > 0 && size + event.bytes.length > capacity) {
        room.closeUnsafe()
        return Effect.andThen(room.await, offer(event))
      }
      events.push(event)
      size += event.bytes.length
      last = event.number
      news.openUnsafe()
      return Effect.void
    })

  const pull: Buffer["pull"] = (reader) =>
    Effect.suspend((): ReturnType<Buffer["pull"]> => {
      if (reader !== current) return Effect.failCause(takenOver)
      const next = after(reader.taken)
      if (next !== undefined) {
        reader.taken = next.number
        room.openUnsafe()
        return Effect.succeed([next.bytes])
      }
      if (exit !== undefined) return ended(exit)
      news.closeUnsafe()
      return Effect.andThen(news.await, pull(reader))
    })

  return {
    offer,
    end: (end) => {
      exit = end
      news.openUnsafe()
    },
    hasEnded: () => exit !== undefined,
    has: (taken) => taken >= dropped && taken <= last,
    reader: () => current,
    attach: (reader) => {
      current = reader
      news.openUnsafe()
      room.openUnsafe()
    },
    pull
  }
}

const ended = (exit: Exit.Exit<void, unknown>) => (Exit.isSuccess(exit) ? Cause.done() : Effect.failCause(exit.cause))
