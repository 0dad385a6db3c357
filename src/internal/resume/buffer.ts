/** The events of one stream, between its source and the client that reads it. */
import { Cause, Effect, Exit, Latch, type Pull } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Event } from "../../http/ResumableStreams.ts"
import * as ClientAbort from "../http/clientAbort.ts"

/** A client that reads. */
export interface Reader {
  /** The number of the last event that it has taken: those of a pull count when it pulls again. */
  taken: number
  /** The number of the last event that it was given. */
  given: number
}

export interface Buffer {
  /** Adds events. Waits for room, which is made by dropping the oldest events that the reader has taken. */
  readonly offer: (events: ReadonlyArray<Event>) => Effect.Effect<void>
  /** Ends the stream, or lets it fail. */
  readonly end: (exit: Exit.Exit<void, unknown>) => void
  readonly hasEnded: () => boolean
  /** Whether the last reader has taken the last event. */
  readonly isTaken: () => boolean
  /** Whether all events after this number are kept, or still to come. */
  readonly has: (number: number) => boolean
  readonly reader: () => Reader | undefined
  /** Replaces the reader. Without one nothing is dropped, so that the last reader can return. */
  readonly attach: (reader: Reader | undefined) => void
  /** Takes the next events. Ends only if the source has ended; a failed one cuts the connection. */
  readonly pull: (reader: Reader) => Pull.Pull<NonEmptyReadonlyArray<Uint8Array>>
}

export const make = (capacity: number): Buffer => {
  const events: Array<Event> = []
  const room = Latch.makeUnsafe()
  const news = Latch.makeUnsafe()
  let size = 0
  let dropped = -1
  let last = -1
  let exit: Exit.Exit<void, unknown> | undefined
  let lastTaken = -1
  let current: Reader | undefined

  const makeRoom = (cost: number) => {
    const taken = current?.taken ?? -1
    while (events.length > 0 && size + cost > capacity) {
      const oldest = events[0]!
      if (oldest.number > taken) return
      events.shift()
      size -= costOf(oldest)
      dropped = oldest.number
    }
  }

  const offer = (some: ReadonlyArray<Event>, from = 0): Effect.Effect<void> =>
    Effect.suspend(() => {
      for (let index = from; index < some.length; index++) {
        const event = some[index]!
        const cost = costOf(event)
        makeRoom(cost)
        if (events.length > 0 && size + cost > capacity) {
          room.closeUnsafe()
          return Effect.andThen(room.await, offer(some, index))
        }
        events.push(event)
        size += cost
        last = event.number
        news.openUnsafe()
      }
      return Effect.void
    })

  /** The events after this number, about as many as a socket takes at once. */
  const after = (number: number): ReadonlyArray<Event> => {
    // The numbers are consecutive.
    const from = Math.max(0, number + 1 - (events[0]?.number ?? 0))
    let to = from
    for (let bytes = 0; to < events.length && bytes < pullSize; to++) bytes += events[to]!.bytes.length
    return events.slice(from, to)
  }

  const pull = (reader: Reader): ReturnType<Buffer["pull"]> =>
    Effect.suspend((): ReturnType<Buffer["pull"]> => {
      if (reader !== current) return ClientAbort.cut
      reader.taken = lastTaken = reader.given
      room.openUnsafe()
      const [first, ...others] = after(reader.taken)
      if (first !== undefined) {
        reader.given = (others.at(-1) ?? first).number
        return Effect.succeed([first.bytes, ...others.map(({ bytes }) => bytes)])
      }
      if (exit !== undefined) {
        // The last events leave first: a client without an id would run the source again.
        return Exit.isSuccess(exit) ? Cause.done() : Effect.andThen(ClientAbort.turn, ClientAbort.cut)
      }
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
    isTaken: () => lastTaken === last,
    has: (number) => number >= dropped && number <= last,
    reader: () => current,
    attach: (reader) => {
      current = reader
      lastTaken = reader?.taken ?? lastTaken
      room.openUnsafe()
      news.openUnsafe()
    },
    pull
  }
}

const pullSize = 16_384

// An event and its array are about 200 bytes of the heap, without their content.
const costOf = ({ bytes }: Event): number => bytes.length + 200
