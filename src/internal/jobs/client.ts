/** The Jobs API as the service principal: order → run → its states → how it ended. */
import { type Context, DateTime, Duration, Effect, Fiber, Option, Stream } from "effect"
import { randomUUID } from "node:crypto"
import type { DatabricksError } from "../../DatabricksError.ts"
import { hasEnded, hasSucceeded, type Run, RunFailedError } from "../../JobRun.ts"
import type { Failure, Jobs, ListOptions, Order, WatchOptions } from "../../Jobs.ts"
import * as Operation from "../../Operation.ts"
import type { ServiceContext } from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { isRetryable, retrying } from "../operation/retries.ts"
import * as Operations from "../workspace/operations.ts"
import { pages } from "../workspace/pages.ts"
import { longer, pause } from "../workspace/pause.ts"
import * as Retry from "../workspace/retry.ts"
import * as Transport from "../workspace/transport.ts"
import * as Requests from "./requests.ts"
import * as Wire from "./wire.ts"

type Attributes = Operation.SpanOptions["attributes"]

const decodeStarted = Transport.patientJson(Wire.Started)
const decodeRun = Transport.patientJson(Wire.RunPage)
const decodeList = Transport.json(Wire.ListPage)
const decodeOutput = Transport.json(Wire.Output)

// The time that an interrupted call waits for the id of its run and for the answer to the cancel request.
const cancelTimeout = Duration.seconds(5)
const shortestDelay = 100

/** Makes the service. */
export const make = (service: ServiceContext["Service"], client: WorkspaceClient["Service"]): Jobs["Service"] => {
  const requests = Requests.make(client)
  const operations = Operations.make(service)

  /** Runs one call, unless a user's call makes it. */
  const call = <A, E, R>(
    name: string,
    attributes: Attributes,
    options: Operation.Policy,
    work: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | Failure, R> =>
    Effect.contextWith(
      (context: Context.Context<R>) => Requests.refused(context) ?? operations.call(name, attributes, options, work)
    ) as Effect.Effect<A, E | Failure, R> // without R's part ServiceContext, which it may itself require

  /** Sends a start until it is answered: the key makes all attempts one run. */
  const start = Effect.fnUntraced(function* <R>({ jobId, parameters }: Order<R>, key: string) {
    if (key === "" || key.length > 64) {
      return yield* Requests.invalid(
        `The key of a run of the job ${jobId} has ${key.length} characters: Databricks accepts 1 to 64. Give a shorter one, such as a hash`
      )
    }
    const fields = { ...(yield* parameters), idempotency_token: key }
    const sent = Effect.flatMap(requests.post({ job_id: jobId }, "/run-now", fields), decodeStarted)
    const { run_id } = yield* Retry.repeatable(sent)
    yield* Effect.annotateCurrentSpan("job.run_id", run_id)
    return run_id
  })

  // A response has at most 100 tasks.
  const read = (runId: string): Effect.Effect<Run, DatabricksError> => {
    const parts = pages((page_token) =>
      Effect.map(
        Effect.flatMap(requests.get({ run_id: runId }, "/runs/get", { page_token }), decodeRun),
        (part) => [[part], part.next_page_token] as const
      )
    )
    return Effect.map(Stream.runCollect(parts), Wire.runOf)
  }

  const cancel = (runId: string): Effect.Effect<void, DatabricksError> =>
    Effect.flatMap(requests.post({ run_id: runId }, "/runs/cancel"), Transport.drained)

  /** Cancels a run whose caller has left. */
  const abandon = (run: Effect.Effect<string, unknown>) =>
    Effect.flatMap(run, cancel).pipe(
      Effect.timeout(cancelTimeout),
      Effect.ignore({ log: "Warn", message: "The run of an interrupted call could not be cancelled, and may go on" })
    )

  /** Polls a run until it has ended. */
  const polled = (runId: string, { delay = 1_000, maxDelay = 15_000 }: WatchOptions) => {
    const longest = Math.max(shortestDelay, Duration.toMillis(maxDelay))
    const first = Math.min(Math.max(shortestDelay, Duration.toMillis(delay)), longest)
    return Stream.paginate(0, (wait) =>
      Effect.gen(function* () {
        if (wait > 0) yield* pause(wait)
        const run = yield* Retry.polled(read(runId))
        return [[run], hasEnded(run) ? Option.none() : Option.some(longer(wait, first, longest))] as const
      })
    )
  }

  const watched = (runId: string, options: WatchOptions): Stream.Stream<Run, DatabricksError> =>
    Stream.suspend(() => {
      let ended = false
      const runs = Stream.tap(polled(runId, options), (run) => Effect.sync(() => (ended = hasEnded(run))))
      return options.cancelOnInterrupt === true
        ? Stream.onExit(runs, () => (ended ? Effect.void : abandon(Effect.succeed(runId))))
        : runs
    })

  const awaited = (runId: string, options: WatchOptions): Effect.Effect<Run, DatabricksError | RunFailedError> =>
    Effect.flatMap(Stream.runLast(watched(runId, options)), (last) => {
      const run = Option.getOrThrow(last) // the stream has at least the run as it ended
      return hasSucceeded(run) ? Effect.succeed(run) : Effect.fail(failureOf(run))
    })

  /** Starts in a fiber of its own, so that interruption does not lose the id of the run to cancel. */
  const startedApart = <E, R>(starting: Effect.Effect<string, E, R>): Effect.Effect<string, E, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.forkDetach(starting), (fiber) =>
        Effect.onInterrupt(restore(Fiber.join(fiber)), () =>
          Effect.ensuring(abandon(Fiber.join(fiber)), Fiber.interrupt(fiber))
        )
      )
    )

  return {
    run: (job, { key, ...policy } = {}) =>
      Effect.suspend(() => {
        const order = orderOf(job)
        return call("jobs.run", { "job.id": order.jobId }, policy, start(order, key ?? randomUUID()))
      }),
    watch: (runId, options = {}) =>
      refusing(
        operations.stream(
          "jobs.watch",
          { "job.run_id": runId },
          Stream.changesWith(watched(runId, options), Wire.hasSameState)
        )
      ),
    runAndWait: (job, { key, retry, timeout, totalTimeout, ...options } = {}) =>
      Effect.suspend(() => {
        const order = orderOf(job)
        const starting = retrying(start(order, key ?? randomUUID()), retry, isRetryable)
        const work = Effect.flatMap(options.cancelOnInterrupt ? startedApart(starting) : starting, (runId) =>
          awaited(runId, options)
        )
        return call("jobs.runAndWait", { "job.id": order.jobId }, { timeout, totalTimeout }, work)
      }),
    get: (runId, options = {}) => call("jobs.get", { "job.run_id": runId }, options, read(runId)),
    list: (options = {}) =>
      refusing(
        operations.list("jobs.list", { "job.id": options.jobId }, options, (token) => {
          const subject = options.jobId === undefined ? undefined : { job_id: options.jobId }
          const page = Effect.flatMap(requests.get(subject, "/runs/list", paramsOf(options, token)), decodeList)
          return Effect.map(page, ({ next_page_token, runs }) => [(runs ?? []).map(Wire.summaryOf), next_page_token])
        })
      ),
    cancel: (runId, options = {}) => call("jobs.cancel", { "job.run_id": runId }, options, cancel(runId)),
    output: (runId, options = {}) => {
      const limited = <A>(request: Effect.Effect<A, DatabricksError>) =>
        Operation.limited(request, "jobs.output", options)
      const outputOf = (runId: string, taskKey?: string) =>
        Effect.map(
          limited(Effect.flatMap(requests.get({ run_id: runId }, "/runs/get-output"), decodeOutput)),
          (output) => Wire.outputOf(output, taskKey)
        )
      // The workspace has no output of a run with several tasks: each task has a run id of its own.
      const outputs = Effect.map(limited(read(runId)), ({ tasks }) =>
        tasks.length === 0
          ? Stream.fromEffect(outputOf(runId))
          : Stream.mapEffect(Stream.fromIterable(tasks), ({ runId, taskKey }) => outputOf(runId, taskKey))
      )
      return refusing(operations.stream("jobs.output", { "job.run_id": runId }, Stream.unwrap(outputs)))
    }
  }
}

/** Opens a stream, unless a user's call does. */
const refusing = <A, E>(stream: Stream.Stream<A, E>): Stream.Stream<A, E> =>
  Stream.unwrap(
    Effect.contextWith((context: Context.Context<never>) => Requests.refused(context) ?? Effect.succeed(stream))
  )

const orderOf = <R>(job: string | Order<R>): Order<R> =>
  typeof job === "string" ? { jobId: job, parameters: Effect.succeed({}) } : job

const paramsOf = ({ only, pageSize, startedFrom, startedTo }: ListOptions, page_token: string | undefined) => ({
  ...(only !== undefined && { [`${only}_only`]: true }),
  start_time_from: startedFrom && DateTime.toEpochMillis(startedFrom),
  start_time_to: startedTo && DateTime.toEpochMillis(startedTo),
  limit: pageSize,
  page_token
})

const failureOf = ({ jobId, pageUrl, runId, state }: Run): RunFailedError => {
  const ended = [state.lifeCycleState, state.resultState].filter(Boolean).join(", ")
  const said = state.message?.slice(0, 1_000) ?? "Databricks gave no reason"
  const page = pageUrl === undefined ? "" : `. See ${pageUrl}`
  return new RunFailedError({
    runId,
    jobId,
    state,
    pageUrl,
    message: `The run ${runId}${jobId === undefined ? "" : ` of the job ${jobId}`} ended as ${ended}: ${said.replace(/\.\s*$/, "")}${page}`
  })
}
