/** The cost of `Operation.execute` and of `asUser`, without failures. */
import { asService, asUser, Operation, OperationCache, provideUser, type ServiceContext } from "../src/index.ts"
import { Effect, Layer, Stream } from "effect"
import { alice, requestOf } from "../test/fixtures/people.ts"
import { Workspace } from "../test/fixtures/workspace.ts"
import { measure } from "./harness.ts"

// The headers that a browser sends, beside those that the proxy adds.
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
  // A real answer arrives in a later turn of the event loop.
  const answer = Effect.callback<number>((resume) => {
    setImmediate(() => resume(bare))
  })
  const usual = { name: "bench", retry: {}, timeout: "30 seconds" } as const
  let asked = 0
  // Written out, as a call is where its parameters are at hand.
  const miss = <A>(effect: Effect.Effect<A>) =>
    Effect.suspend(() =>
      Operation.execute(effect, {
        name: "bench",
        retry: {},
        timeout: "30 seconds",
        cache: { key: ["orders", asked++] }
      })
    )
  const stream = Stream.fromEffect(bare)
  const request = { headers: { ...browser, ...(yield* requestOf(alice)) } }

  yield* measure<OperationCache.OperationCache | ServiceContext.ServiceContext>("the chain", [
    { name: "bare", effect: bare },
    { name: "span alone (Effect.useSpan)", effect: Effect.useSpan("bench", () => bare) },
    { name: "execute", effect: Operation.execute(bare, { name: "bench" }) },
    { name: "+ timeout", effect: Operation.execute(bare, { name: "bench", timeout: "30 seconds" }) },
    { name: "+ timeout, retry", effect: Operation.execute(bare, usual), goal: 5 },
    { name: "hit", effect: Operation.execute(bare, { ...usual, cache: { key: ["orders", "same"] } }), goal: 3 },
    {
      name: "miss",
      effect: Effect.suspend(() => Operation.execute(bare, { name: "bench", cache: { key: ["orders", asked++] } }))
    },
    { name: "miss + timeout, retry", effect: miss(bare), goal: 5 },
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
    { name: "answer, miss + timeout, retry", effect: miss(answer), over: "answer, bare" }
  ])
})

await Effect.runPromise(Effect.provide(main, Layer.merge(Workspace, OperationCache.layer())))
