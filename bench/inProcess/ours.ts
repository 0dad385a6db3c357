/** `asUser` and `execute` in process, with a timeout and retries that are not needed. */
import { Effect, Exit } from "effect"
import { asUser, Operation, provideUser, ServiceContext } from "../../src/index.ts"
import { answer } from "../answer.ts"

const work = Operation.execute(
  Effect.promise(() => Promise.resolve(1)),
  { name: "bench", timeout: "30 seconds", retry: {} }
)

interface Question {
  readonly headers: Record<string, string>
  readonly times: number
  readonly form: "asUser" | "provideUser"
}

const times = Effect.fnUntraced(function* ({ form, headers, times }: Question) {
  const before = process.cpuUsage()
  for (let i = 0; i < times; i++) {
    // A request of its own each time, as an HTTP server hands out.
    const request = { headers: { ...headers } }
    yield* form === "asUser" ? Effect.provide(work, asUser(request)) : provideUser(work, request)
  }
  const { system, user } = process.cpuUsage(before)
  return { cost: (user + system) / times }
})

const main = Effect.gen(function* () {
  const runPromise = Effect.runPromiseWith(yield* Effect.context<ServiceContext.ServiceContext>())
  answer((question: Question) => runPromise(times(question)))
  return yield* Effect.never
})

const fiber = Effect.runFork(Effect.provide(main, ServiceContext.layerConfig()))
fiber.addObserver((exit) => process.exit(Exit.isSuccess(exit) ? 0 : 1))
