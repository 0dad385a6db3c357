/** What it costs to run something as an operation, and as somebody, when nothing goes wrong. */
import { asService, asUser, Operation, OperationCache, provideUser, type ServiceContext } from "../src/index.ts"
import { Effect, Layer, Stream } from "effect"
import { alice, requestOf, Workspace } from "../test/fixtures/workspace.ts"
import { measure } from "./harness.ts"

// What a browser sends with every request, beside what the proxy adds.
const browser = {
  host: "app.example.com",
  connection: "keep-alive",
  "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  accept: "application/json",
  "accept-language": "en-US,en;q=0.5",
  "accept-encoding": "gzip, deflate, br, zstd",
  referer: "https://app.example.com/",
  cookie: "session=0123456789abcdef",
  "x-forwarded-host": "app.example.com",
  "x-request-id": "00000000-0000-4000-8000-000000000000"
}

const main = Effect.gen(function* () {
  const bare = Effect.sync(() => 1)
  // Nothing is there at once in real life: the answer comes with a later turn of the event loop.
  const answer = Effect.callback<number>((resume) => {
    setImmediate(() => resume(bare))
  })
  let asked = 0
  const all = { name: "bench", retry: {}, timeout: "30 seconds", totalTimeout: "1 minute" } as const
  const { totalTimeout: _, ...usual } = all
  const missing = <A>(effect: Effect.Effect<A>, options: Operation.Options) =>
    Effect.suspend(() => Operation.execute(effect, { ...options, cache: { key: ["orders", asked++] } }))
  const stream = Stream.fromEffect(bare)
  const request = { headers: { ...browser, ...(yield* requestOf(alice)) } }

  yield* measure<OperationCache.OperationCache | ServiceContext.ServiceContext>("the chain", [
    { name: "bare", effect: bare },
    { name: "span alone (Effect.useSpan)", effect: Effect.useSpan("bench", () => bare) },
    { name: "execute", effect: Operation.execute(bare, { name: "bench" }) },
    { name: "+ timeout", effect: Operation.execute(bare, { name: "bench", timeout: "30 seconds" }) },
    { name: "+ timeout, retry", effect: Operation.execute(bare, usual), goal: 5 },
    { name: "hit", effect: Operation.execute(bare, { ...usual, cache: { key: ["orders", "same"] } }), goal: 3 },
    { name: "miss", effect: missing(bare, { name: "bench" }), goal: 5 },
    { name: "miss + timeout, retry", effect: missing(bare, usual), goal: 5 },
    { name: "miss + both timeouts, retry", effect: missing(bare, all) },
    { name: "asUser, a Layer", effect: Effect.provide(bare, asUser(request)), goal: 6 },
    { name: "provideUser", effect: provideUser(bare, request) },
    { name: "asService", effect: asService(bare) },
    { name: "stream, bare", effect: Stream.runDrain(stream) },
    {
      name: "executeStream",
      effect: Stream.runDrain(Operation.executeStream(stream, { name: "bench" })),
      over: "stream, bare"
    },
    { name: "answer, bare", effect: answer },
    { name: "answer, + timeout, retry", effect: Operation.execute(answer, usual), over: "answer, bare" },
    { name: "answer, miss + timeout, retry", effect: missing(answer, usual), over: "answer, bare" }
  ])
})

await Effect.runPromise(Effect.provide(main, Layer.merge(Workspace, OperationCache.layer())))
