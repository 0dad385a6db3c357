/** Streams that outlive the connections of their clients. */
import type { Fiber } from "effect"
import { ByteSize, Cause, Context, Effect, Exit, References, Scope, Stream } from "effect"
import { randomBytes } from "node:crypto"
import * as Caller from "../../Caller.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import * as HttpFailure from "../../http/HttpFailure.ts"
import type { Event, Options, Request, ResumableStreams } from "../../http/ResumableStreams.ts"
import { StreamGoneError, TooManyStreamsError } from "../../http/ResumeError.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import { UserContext } from "../../UserContext.ts"
import * as ClientAbort from "../http/clientAbort.ts"
import * as Heartbeat from "../http/heartbeat.ts"
import * as Line from "../logs/line.ts"
import * as Transaction from "../sql/transaction.ts"
import * as Buffer from "./buffer.ts"
import * as EventId from "./eventId.ts"

/** A stream that is kept. */
interface Kept {
  readonly id: string
  readonly owner: string
  readonly route: string
  readonly requestId: string | undefined
  readonly buffer: Buffer.Buffer
  /** Runs the source. */
  readonly run: Effect.Effect<void>
  source: Fiber.Fiber<void> | undefined
  /** The connection that reads, or is about to. */
  connection: Connection | undefined
  /** Removes the stream when its grace period is over. Runs while no connection reads. */
  timer: Fiber.Fiber<void> | undefined
  /** The rank of its last timer: the smaller, the longer ago the stream was left, or ended. */
  leftAs: number
}

interface Connection extends Buffer.Reader {
  /** The fiber of the response, once it reads. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

type Run<R> = (streamId: string) => Stream.Stream<Event, unknown, R>

type Opened = Effect.Effect<Stream.Stream<Uint8Array>, StreamGoneError | TooManyStreamsError>

export const make = ({
  grace = "30 seconds",
  maxBufferSize = ByteSize.mebibytes(1),
  maxTotalStreams = 500,
  maxStreams = Math.ceil(maxTotalStreams / 10)
}: Options): Effect.Effect<ResumableStreams["Service"], never, Scope.Scope> =>
  Effect.contextWith((own: Context.Context<Scope.Scope>) => {
    const scope = Context.get(own, Scope.Scope)
    const capacity = Number(ByteSize.fromInputUnsafe(maxBufferSize))
    // In the order of their beginning, and so are those of each owner.
    const streams = new Set<Kept>()
    const owned = new Map<string, Set<Kept>>()
    let timers = 0

    const stopTimer = (kept: Kept) => {
      kept.timer?.interruptUnsafe()
      kept.timer = undefined
    }

    const drop = (kept: Kept) => {
      stopTimer(kept)
      streams.delete(kept)
      const own = owned.get(kept.owner)
      own?.delete(kept)
      if (own?.size === 0) owned.delete(kept.owner)
      kept.source?.interruptUnsafe()
    }

    // The context of the layer: a timer holds nothing of the request that starts it.
    const startTimer = (kept: Kept): Effect.Effect<void> =>
      Effect.suspend(() => {
        stopTimer(kept)
        kept.leftAs = ++timers
        const over = Effect.sync(() => {
          kept.timer = undefined
          drop(kept)
        })
        return Effect.map(Effect.forkIn(Effect.delay(over, grace), scope), (timer) => void (kept.timer = timer))
      }).pipe(Effect.setContext(own))

    /**
     * Makes room for one more stream, or returns the limit. A caller's own streams give way before those of others, and
     * one that still runs gives way only to its own caller. A client may return for the rest of one that it has not read
     * whole, so those follow. One with a connection never does.
     */
    const makeRoom = (owner: string): TooManyStreamsError | undefined => {
      const own = owned.get(owner) ?? none
      const isFull = own.size >= maxStreams
      if (!isFull && streams.size < maxTotalStreams) return undefined
      const kept =
        oldest(own, isRead) ??
        oldest(own, hasEnded) ??
        oldest(own, () => true) ??
        (isFull ? undefined : oldest(streams, hasEnded))
      if (kept === undefined) {
        const limit = isFull
          ? `${maxStreams} streams of one caller (maxStreams)`
          : `${maxTotalStreams} streams of all callers (maxTotalStreams)`
        return new TooManyStreamsError({
          message: `The server already sends ${limit}: close one, or try again soon`
        })
      }
      drop(kept)
      return undefined
    }

    const start = <R>({ requestId, route }: Request<R>, owner: string, run: Run<R>, context: Context.Context<R>) => {
      const refused = makeRoom(owner)
      if (refused !== undefined) return Effect.fail(refused)
      const id = randomBytes(12).toString("base64url")
      const buffer = Buffer.make(capacity)
      const kept: Kept = {
        id,
        owner,
        route,
        requestId,
        buffer,
        run: Stream.runForEachArray(run(id), buffer.offer).pipe(
          Effect.scoped,
          Effect.onExit((exit) => {
            buffer.end(exit)
            return ended(kept, exit)
          }),
          Effect.ignoreCause,
          Effect.setContext(lasting(context))
        ),
        source: undefined,
        connection: undefined,
        timer: undefined,
        leftAs: 0
      }
      streams.add(kept)
      const own = owned.get(owner) ?? new Set()
      owned.set(owner, own.add(kept))
      return Effect.succeed(kept)
    }

    /** Logs a failure, which cuts off the connections of the client without another line. */
    const ended = (kept: Kept, exit: Exit.Exit<void, unknown>) =>
      Effect.andThen(
        Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
          ? HttpFailure.reportBroken(exit.cause)
          : Effect.void,
        streams.has(kept) && kept.buffer.reader() === undefined ? startTimer(kept) : Effect.void
      )

    /** Gives a stream to the connection of a request, from the event after this number. */
    const give = <R>(kept: Kept, taken: number, { heartbeat }: Request<R>) =>
      Effect.suspend(() => {
        const connection: Connection = { taken, given: taken, fiber: undefined }
        cut(kept)
        kept.connection = connection
        const body = Stream.unwrap(
          Effect.withFiber((fiber) => {
            if (kept.connection !== connection || !streams.has(kept)) return ClientAbort.cut
            stopTimer(kept)
            connection.fiber = fiber
            kept.buffer.attach(connection)
            const read = Stream.ensuring(
              Heartbeat.beside({ take: () => kept.buffer.take(connection), onNews: kept.buffer.onNews }, heartbeat),
              Effect.suspend(() => {
                if (kept.connection !== connection) return Effect.void
                kept.connection = undefined
                kept.buffer.attach(undefined)
                return startTimer(kept)
              })
            )
            if (kept.source !== undefined) return Effect.succeed(read)
            return Effect.map(Effect.forkIn(kept.run, scope), (source) => {
              kept.source = source
              return read
            })
          })
        )
        // The client may leave before its body is opened.
        return Effect.as(startTimer(kept), body)
      })

    const open: ResumableStreams["Service"]["open"] = <R>(request: Request<R>) =>
      Effect.contextWith((context: Context.Context<R | ServiceContext>): Opened => {
        const { after, lastEventId, requestId, route, run } = request
        const owner = ownerOf(context, request.sender)
        const find = (is: (kept: Kept) => boolean) =>
          [...(owned.get(owner) ?? none)].findLast((kept) => kept.route === route && is(kept))
        const begin = (run: Run<R>) =>
          Effect.flatMap(start(request, owner, run, context), (kept) => give(kept, -1, request))

        if (lastEventId === undefined) {
          const kept = requestId === undefined ? undefined : find((kept) => kept.requestId === requestId)
          if (kept === undefined) return begin(run)
          return kept.buffer.has(-1) ? give(kept, -1, request) : Effect.fail(gone)
        }
        const last = EventId.parse(lastEventId)
        if (last === undefined) return Effect.fail(gone)
        const kept = find((kept) => kept.id === last.streamId && kept.requestId === requestId)
        if (kept?.buffer.has(last.number)) return give(kept, last.number, request)
        const { id } = last
        return after === undefined || id === undefined ? Effect.fail(gone) : begin((streamId) => after(id, streamId))
      })

    return Effect.succeed({ open })
  })

const none: ReadonlySet<Kept> = new Set()

/** The stream of this kind that no connection reads for the longest time. */
const oldest = (streams: ReadonlySet<Kept>, is: (kept: Kept) => boolean): Kept | undefined => {
  let found: Kept | undefined
  for (const kept of streams) {
    if (kept.connection === undefined && is(kept) && (found === undefined || kept.leftAs < found.leftAs)) found = kept
  }
  return found
}

const hasEnded = ({ buffer }: Kept) => buffer.hasEnded()

const isRead = (kept: Kept) => hasEnded(kept) && kept.buffer.isTaken()

/** Closes the connection that reads, which may be dead, as if its client had left. */
const cut = ({ buffer, connection }: Kept) => {
  buffer.attach(undefined)
  connection?.fiber?.interruptUnsafe(undefined, ClientAbort.annotation)
}

/** The text that tells the owners of streams apart. */
const ownerOf = (context: Context.Context<ServiceContext>, sender: string | undefined): string => {
  const user = Context.getOrUndefined(context, UserContext)
  // Streams that run as the app have the same caller for every person.
  return JSON.stringify([
    Caller.key(ExecutionContext.callerOf(context)),
    user === undefined ? null : Caller.key(user),
    sender ?? null
  ])
}

/** The context without what ends with the request: its transaction, and its line of the log, of which the id stays. */
const lasting = <R>(context: Context.Context<R>): Context.Context<R> => {
  const line = Line.lineIn(context)
  const rest = Transaction.without(context)
  if (line === undefined) return rest
  const annotations = { ...Context.get(context, References.CurrentLogAnnotations), request_id: line.requestId }
  return Context.omit(Line.CurrentLine)(
    Context.add(rest, References.CurrentLogAnnotations, annotations)
  ) as Context.Context<R> // R has no line of the log
}

const gone = new StreamGoneError({
  message:
    "The events after this Last-Event-ID are no longer kept: send the request again without it, and with a new request id"
})
