/** Streams that outlive the connections of their clients. */
import { ByteSize, Cause, Context, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { HttpServerError } from "effect/http"
import { randomBytes } from "node:crypto"
import * as Caller from "../../Caller.ts"
import * as ExecutionContext from "../../ExecutionContext.ts"
import * as HttpFailure from "../../http/HttpFailure.ts"
import type { Event, Options, Request, ResumableStreams } from "../../http/ResumableStreams.ts"
import { StreamGoneError, TooManyStreamsError } from "../../http/ResumeError.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import { UserContext } from "../../UserContext.ts"
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
}

interface Connection extends Buffer.Reader {
  /** The fiber of the response, once it reads. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

type Run<R> = (streamId: string) => Stream.Stream<Event, unknown, R>

type Opened = Effect.Effect<Stream.Stream<Uint8Array, unknown>, StreamGoneError | TooManyStreamsError>

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

    const remove = (kept: Kept): Effect.Effect<void> =>
      Effect.suspend(() => {
        streams.delete(kept)
        return kept.source === undefined ? Effect.void : Fiber.interrupt(kept.source)
      })

    const stopTimer = (kept: Kept) => {
      kept.timer?.interruptUnsafe()
      kept.timer = undefined
    }

    // The context of the layer: a timer holds nothing of the request that starts it.
    const startTimer = (kept: Kept): Effect.Effect<void> =>
      Effect.suspend(() => {
        stopTimer(kept)
        return Effect.map(Effect.forkIn(Effect.delay(remove(kept), grace), scope), (timer) => void (kept.timer = timer))
      }).pipe(Effect.setContext(own))

    /** Drops the oldest streams that have ended if there is no room for one more, or returns the limit. */
    const makeRoom = (owner: string): TooManyStreamsError | undefined => {
      const limits = [
        { of: "one caller (maxStreams)", most: maxStreams, counts: (kept: Kept) => kept.owner === owner },
        { of: "all callers (maxTotalStreams)", most: maxTotalStreams, counts: () => true }
      ]
      for (const { counts, most, of } of limits) {
        const counted = [...streams].filter(counts)
        const excess = counted.length + 1 - most
        const idle = counted.filter(({ buffer, connection }) => buffer.hasEnded() && connection === undefined)
        if (idle.length < excess) {
          return new TooManyStreamsError({
            message: `The server already keeps ${most} running streams of ${of}: close one, or try again soon`
          })
        }
        for (const kept of idle.slice(0, Math.max(0, excess))) {
          stopTimer(kept)
          streams.delete(kept)
        }
      }
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
        run: Stream.runForEach(run(id), buffer.offer).pipe(
          Effect.scoped,
          Effect.onExit((exit) => {
            buffer.end(exit)
            return buffer.reader() === undefined ? ended(kept, exit) : Effect.void
          }),
          Effect.ignoreCause,
          Effect.setContext(lasting(context))
        ),
        source: undefined,
        connection: undefined,
        timer: undefined
      }
      streams.add(kept)
      return Effect.succeed(kept)
    }

    /** Nothing but the log has a failure that no response breaks off with. */
    const ended = (kept: Kept, exit: Exit.Exit<void, unknown>) =>
      Effect.andThen(
        Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
          ? HttpFailure.reportBroken(exit.cause)
          : Effect.void,
        streams.has(kept) ? startTimer(kept) : Effect.void
      )

    /** Gives a stream to the connection of a request, from the event after this number. */
    const give = <R>(kept: Kept, taken: number, { heartbeat }: Request<R>) =>
      Effect.suspend(() => {
        const connection: Connection = { taken, heartbeat, fiber: undefined }
        cut(kept)
        kept.connection = connection
        const body = Stream.unwrap(
          Effect.withFiber((fiber) => {
            if (kept.connection !== connection || !streams.has(kept)) return Effect.interrupt
            stopTimer(kept)
            connection.fiber = fiber
            kept.buffer.attach(connection)
            const read = Stream.ensuring(
              Stream.fromPull(Effect.succeed(kept.buffer.pull(connection))),
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
          [...streams].findLast((kept) => kept.owner === owner && kept.route === route && is(kept))
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

/** Closes the connection that reads, which may be dead, as if its client had left. */
const cut = ({ buffer, connection }: Kept) => {
  buffer.attach(undefined)
  connection?.fiber?.interruptUnsafe(undefined, HttpServerError.ClientAbort.annotation)
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

/** The context without what ends with the request: its transaction, and its line of the log. */
const lasting = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.omit(Line.CurrentLine)(Transaction.without(context)) as Context.Context<R> // R has no line of the log

const gone = new StreamGoneError({
  message:
    "The events after this Last-Event-ID are no longer kept: send the request again without it, and with a new request id"
})
