/** The events of one stream, between its source and the client that reads it. */
import { Cause, Effect, Exit, Latch, type Pull } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import { Buffer as NodeBuffer } from "node:buffer"
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
  /**
   * Takes the next events, or returns `undefined` if there are none yet. Ends only if the source has ended; a failed one
   * cuts the connection.
   */
  readonly take: (reader: Reader) => Pull.Pull<NonEmptyReadonlyArray<Uint8Array>> | undefined
  /** Runs a function once, when there may be more to take. It replaces the one before. */
  readonly onNews: (listener: () => void) => void
}

export const make = (capacity: number): Buffer => {
  // The numbers of events are consecutive: the texts end with that of `last`.
  const texts: Array<string> = []
  const room = Latch.makeUnsafe()
  let listener: (() => void) | undefined
  let size = 0
  let dropped = -1
  let last = -1
  let exit: Exit.Exit<void, unknown> | undefined
  let lastTaken = -1
  let current: Reader | undefined

  const tell = () => {
    const tellOnce = listener
    listener = undefined
    tellOnce?.()
  }

  const makeRoom = (cost: number) => {
    const taken = current?.taken ?? -1
    while (texts.length > 0 && size + cost > capacity) {
      const oldest = last + 1 - texts.length
      if (oldest > taken) return
      size -= costOf(texts.shift()!)
      dropped = oldest
    }
  }

  /** Adds events from this index on, while there is room. Returns the index of the next one. */
  const add = (some: ReadonlyArray<Event>, from: number): number => {
    let index = from
    for (; index < some.length; index++) {
      const { number, text } = some[index]!
      const cost = costOf(text)
      makeRoom(cost)
      if (texts.length > 0 && size + cost > capacity) break
      texts.push(text)
      size += cost
      last = number
    }
    return index
  }

  const offer = (some: ReadonlyArray<Event>, from = 0): Effect.Effect<void> =>
    Effect.suspend(() => {
      const next = add(some, from)
      if (next > from) tell()
      if (next === some.length) return Effect.void
      // A reader that was told may have made room.
      if (next > from) return offer(some, next)
      room.closeUnsafe()
      return Effect.andThen(room.await, offer(some, next))
    })

  const take: Buffer["take"] = (reader) => {
    if (reader !== current) return ClientAbort.cut
    reader.taken = lastTaken = reader.given
    room.openUnsafe()
    const first = last + 1 - texts.length
    const from = Math.max(0, reader.taken + 1 - first)
    let to = from
    let text = ""
    while (to < texts.length && text.length < takeSize) text += texts[to++]!
    if (to > from) {
      reader.given = first + to - 1
      return Effect.succeed([NodeBuffer.from(text)])
    }
    if (exit === undefined) return undefined
    // The last events leave first: a client without an id would run the source again.
    return Exit.isSuccess(exit) ? Cause.done() : Effect.andThen(ClientAbort.turn, ClientAbort.cut)
  }

  return {
    offer,
    end: (end) => {
      exit = end
      tell()
    },
    hasEnded: () => exit !== undefined,
    isTaken: () => lastTaken === last,
    has: (number) => number >= dropped && number <= last,
    reader: () => current,
    attach: (reader) => {
      current = reader
      lastTaken = reader?.taken ?? lastTaken
      room.openUnsafe()
      tell()
    },
    take,
    onNews: (tellOnce) => void (listener = tellOnce)
  }
}

/** The length of the events that are taken together, about as many as a socket takes at once. */
const takeSize = 16_384

// An event and its text are about 200 bytes of the heap, without their content.
const costOf = (text: string): number => NodeBuffer.byteLength(text) + 200
