/** The retries of requests to the workspace. */
import { Context, Duration, Effect, Schedule, Stream } from "effect"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { Policy } from "../../Operation.ts"
import * as Retries from "../operation/retries.ts"
import * as Proxy from "../proxy.ts"

/** Whether the workspace did not run a request, because it refused it temporarily or was not reached. */
export const neverRan = ({ reason }: DatabricksError): boolean =>
  reason._tag === "RateLimitedError" ||
  reason._tag === "UnavailableError" ||
  (reason._tag === "ConnectionError" && (neverConnected.has(reason.cause) || Proxy.mayPass(reason.cause)))

const neverConnected = new Set<unknown>([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT"
])

/** Whether a request that may run twice is worth another attempt. */
export const mayPass = ({ isRetryable, reason }: DatabricksError): boolean =>
  reason._tag === "WorkspaceFailedError"
    ? reason.status !== 501
    : isRetryable && !(reason._tag === "ConnectionError" && lasting.test(String(reason.cause)))

// A certificate, header or proxy login that is refused will be refused again.
const lasting = /CERT|SSL|TLS|ERR_INVALID|^EPROTO$|^UNABLE_TO_|^the proxy in \w+ answered [1-4]/

/** `mayPass` at the start of an application, when an unknown host name is most likely misspelt. */
export const mayPassAtStart = (error: DatabricksError): boolean =>
  mayPass(error) && !(error.reason._tag === "ConnectionError" && /\bENOTFOUND\b/.test(String(error.reason.cause)))

type Retried = <A, R>(request: Effect.Effect<A, DatabricksError, R>) => Effect.Effect<A, DatabricksError, R>

const upTo3Times =
  (again: (error: DatabricksError) => boolean): Retried =>
  <A, R>(request: Effect.Effect<A, DatabricksError, R>) =>
    Effect.contextWith((context: Context.Context<R>) =>
      Context.get(context, Retries.RetriesByDefault)
        ? Retries.withoutRetries(Retries.retriedAfterFailure(request, schedule, again))
        : request
    )

const schedule = Retries.schedule({ budget: Duration.seconds(30) })

/** Retries requests that did not run, up to 3 times within 30 seconds: the default of every request. */
export const byDefault = upTo3Times(neverRan)

/** Applies the option `retry` of a call to a request that must not run twice: `byDefault` without it. */
export const ofCall = <A, R>(
  request: Effect.Effect<A, DatabricksError, R>,
  retry: Policy["retry"]
): Effect.Effect<A, DatabricksError, R> =>
  retry === undefined ? byDefault(request) : Retries.retrying(request, retry, neverRan)

/** `byDefault` for a request that may run twice: also if the connection was lost or the workspace failed. */
export const repeatable = upTo3Times(mayPass)

const patience = (budget: Duration.Duration) =>
  Retries.schedule({ attempts: Infinity, delay: 100, maxDelay: Duration.seconds(5), budget })

/** Retries a request that may run twice, for this long after its first failure. */
export const patiently = (budget: Duration.Duration, again = mayPass): Retried => {
  const schedule = patience(budget)
  return (request) => Effect.retry(Retries.withoutRetries(request), { schedule, while: again })
}

const pollBudget = Duration.minutes(5)

/** Retries the polls and pages of what is under way. */
export const polled = patiently(pollBudget)

/** `polled` for a stream, for this long after its last element. The stream skips what it has emitted before. */
export const polledStream = <A, R>(
  stream: Stream.Stream<A, DatabricksError, R>
): Stream.Stream<A, DatabricksError, R> => {
  const schedule = Schedule.while(patience(pollBudget), ({ input }) => mayPass(input as DatabricksError)) // the stream's error
  return Stream.retry(Stream.provideService(stream, Retries.RetriesByDefault, false), schedule)
}

/** Retries for at most `limit`, then fails with the last failure, or with `silent` if no response came. */
export const inTime =
  (limit: Duration.Duration, retried: Retried, silent: () => DatabricksError): Retried =>
  (request) =>
    Effect.suspend(() => {
      let last: DatabricksError | undefined
      return retried(Effect.tapError(request, (error) => Effect.sync(() => (last = error)))).pipe(
        Effect.timeoutOrElse({ duration: limit, orElse: () => Effect.fail(last ?? silent()) })
      )
    })
