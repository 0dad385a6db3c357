/** Streams that outlive the connections of their clients. */
import { ByteSize, Cause, Context, Effect, Fiber, Scope, Stream } from "effect"
import { randomBytes } from "node:crypto"
import * as Caller from "../../Caller.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import type { Event, Options, Request, ResumableStreams } from "../../http/ResumableStreams.ts"
import { StreamGoneError, TooManyStreamsError } from "../../http/ResumeError.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import { UserContext } from "../../UserContext.ts"
import * as Line from "../logs/line.ts"
import * as Transaction from "../sql/transaction.ts"
import * as Buffer from "./buffer.ts"
import { Cut } from "./cut.ts"
import * as EventId from "./eventId.ts"

/** A stream that is kept. */
interface Kept {
  readonly id: string
  readonly owner: string
  readonly route: string
  readonly requestId: string | undefined
  readonly buffer: Buffer.Buffer
  /** The run of the source. */
  source: Fiber.Fiber<void> | undefined
  /** Removes the stream when the grace period is over. */
  timer: Fiber.Fiber<void> | undefined
  /** The connection that may read: the last that was opened. */
  connection: object | undefined
}

type Opened = Effect.Effect<Stream.Stream<Uint8Array, unknown>, StreamGoneError | TooManyStreamsError>

type Run<R> = (streamId: string) => Stream.Stream<Event, unknown, R>

export const make = ({
  grace = "30 seconds",
  maxBufferSize = ByteSize.mebibytes(1),
  maxStreams = 50,
  maxTotalStreams = 500
}: Options): Effect.Effect<ResumableStreams["Service"], never, Scope.Scope> =>
  Effect.contextWith((own: Context.Context<Scope.Scope>) => {
    const scope = Context.get(own, Scope.Scope)
    const capacity = Number(ByteSize.fromInputUnsafe(maxBufferSize))
    // In the order of their beginning.
    const streams = new Set<Kept>()

    const remove = (kept: Kept) =>
      Effect.suspend(() => {
        streams.delete(kept)
        return kept.source === undefined ? Effect.void : Fiber.interrupt(kept.source)
      })

    const stopTimer = (kept: Kept) => {
      kept.timer?.interruptUnsafe()
      kept.timer = undefined
    }

    /** Starts the grace period anew. The timer holds nothing of the request that starts it. */
    const startTimer = (kept: Kept) =>
      Effect.suspend(() => {
        stopTimer(kept)
        return Effect.forkIn(Effect.delay(remove(kept), grace), scope)
      }).pipe(
        Effect.map((timer) => void (kept.timer = timer)),
        Effect.setContext(own)
      )

    /** Drops the oldest streams that have ended, if there is no room for one more. */
    const makeRoom = (owner: string): TooManyStreamsError | undefined => {
      const limits = [
        [(kept: Kept) => kept.owner === owner, maxStreams, "of one caller (maxStreams)"],
        [() => true, maxTotalStreams, "of all callers (maxTotalStreams)"]
      ] as const
      for (const [isCounted, most, name] of limits) {
        const counted = [...streams].filter(isCounted)
        const idle = counted.filter(({ buffer }) => buffer.hasEnded() && buffer.reader() === undefined)
        const excess = counted.length + 1 - most
        if (idle.length < excess) {
          return new TooManyStreamsError({
            message: `This server keeps at most ${most} running streams ${name}: close one, or try again soon`
          })
        }
        for (const kept of idle.slice(0, Math.max(0, excess))) {
          stopTimer(kept)
          streams.delete(kept)
        }
      }
      return undefined
    }

    const start = <R>(request: Request<R>, owner: string, run: Run<R>, context: Context.Context<R>) =>
      Effect.suspend(() => {
        const refused = makeRoom(owner)
        if (refused !== undefined) return Effect.fail(refused)
        const { requestId, route } = request
        const id = randomBytes(12).toString("base64url")
        const buffer = Buffer.make(capacity, takenOver)
        const kept: Kept = {
          id,
          owner,
          route,
          requestId,
          buffer,
          source: undefined,
          timer: undefined,
          connection: undefined
        }
        streams.add(kept)
        const source = Stream.runForEach(run(id), buffer.offer).pipe(
          Effect.scoped,
          Effect.onExit((exit) => {
            buffer.end(exit)
            return streams.has(kept) && buffer.reader() === undefined ? startTimer(kept) : Effect.void
          }),
          Effect.exit,
          Effect.asVoid
        )
        return Effect.forkIn(source, scope).pipe(
          Effect.setContext(lasting(context)),
          Effect.map((fiber) => {
            kept.source = fiber
            return kept
          })
        )
      })

    /** Gives a stream to a new connection, from the event after this number. */
    const hand = (kept: Kept, taken: number) =>
      Effect.suspend(() => {
        const connection = {}
        kept.connection = connection
        kept.buffer.attach(undefined)
        const reader: Buffer.Reader = { taken }
        const rest = Stream.suspend(() => {
          if (kept.connection !== connection || !streams.has(kept)) return Stream.failCause(takenOver)
          stopTimer(kept)
          kept.buffer.attach(reader)
          return Stream.ensuring(
            Stream.fromPull(Effect.succeed(kept.buffer.pull(reader))),
            Effect.suspend(() => {
              if (kept.buffer.reader() !== reader) return Effect.void
              kept.buffer.attach(undefined)
              return startTimer(kept)
            })
          )
        })
        // A response whose body is never opened has a client that has left.
        return Effect.as(startTimer(kept), rest)
      })

    const open: ResumableStreams["Service"]["open"] = <R>(request: Request<R>) =>
      Effect.contextWith((context: Context.Context<R | ServiceContext>): Opened => {
        const { after, lastEventId, requestId, route, run } = request
        const owner = ownerOf(context, request.sender)
        const begin = (run: Run<R>) => Effect.flatMap(start(request, owner, run, context), (kept) => hand(kept, -1))
        const find = (isIt: (kept: Kept) => boolean) =>
          [...streams].findLast((kept) => kept.owner === owner && kept.route === route && isIt(kept))
        if (lastEventId === undefined) {
          const kept = requestId === undefined ? undefined : find((kept) => kept.requestId === requestId)
          if (kept === undefined) return begin(run)
          return kept.buffer.has(-1) ? hand(kept, -1) : Effect.fail(gone)
        }
        const last = EventId.parse(lastEventId)
        if (last === undefined) return Effect.fail(gone)
        const kept = find((kept) => kept.id === last.streamId && kept.requestId === requestId)
        if (kept?.buffer.has(last.number)) return hand(kept, last.number)
        const { id } = last
        if (after === undefined || id === undefined) return Effect.fail(gone)
        return begin((streamId) => after(id, streamId))
      })

    return Effect.succeed({ open })
  })

/** The text that tells the owners of streams apart. */
const ownerOf = (context: Context.Context<ServiceContext>, sender: string | undefined): string => {
  const user = Context.getOrUndefined(context, UserContext)
  // The streams of the app have the same caller for every person who asks.
  return JSON.stringify([
    Caller.key(ExecutionContext.callerOf(context)),
    user === undefined ? null : Caller.key(user),
    sender ?? null
  ])
}

/** The context without what ends with the request: its scope, its transaction and its line of the log. */
const lasting = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.omit(Line.CurrentLine)(Transaction.without(context)) as Context.Context<R>

const takenOver = Cause.fail(new Cut({ message: "Another connection of the client reads this stream" }))

const gone = new StreamGoneError({
  message:
    "The events after this Last-Event-ID are no longer kept: send the request again without Last-Event-ID, and with a new request id"
})
