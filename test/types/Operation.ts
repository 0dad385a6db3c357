/** What the types of Operation promise. */
import { asUser, Operation, type OperationCache, type ServiceContext, type UserContext } from "effect-databricks"
import { Effect, type Layer, type Stream } from "effect"
import { typeOf } from "./is.ts"

declare const work: Effect.Effect<number, "refused", UserContext>
declare const stream: Stream.Stream<number, "refused", UserContext>

type Needs = UserContext | ServiceContext.ServiceContext

// A timeout adds its error, nothing else does.
typeOf(Operation.execute(work, { name: "x" })).is<Effect.Effect<number, "refused", Needs>>()
typeOf(Operation.execute(work, { name: "x", retry: {} })).is<Effect.Effect<number, "refused", Needs>>()
typeOf(work.pipe(Operation.execute({ name: "x", attributes: { a: 1 } }))).is<Effect.Effect<number, "refused", Needs>>()
type Timed = Effect.Effect<number, "refused" | Operation.OperationTimeoutError, Needs>
typeOf(Operation.execute(work, { name: "x", timeout: "5 seconds" })).is<Timed>()
typeOf(work.pipe(Operation.execute({ name: "x", timeout: 5000, retry: { attempts: 2 } }))).is<Timed>()
typeOf(Operation.execute(work, { name: "x", timeout: undefined })).is<Effect.Effect<number, "refused", Needs>>()

typeOf(Operation.execute(work, { name: "x", totalTimeout: "1 minute" })).is<Timed>()

// A cache adds what keeps it.
typeOf(Operation.execute(work, { name: "x", cache: { key: [1] } })).is<
  Effect.Effect<number, "refused", Needs | OperationCache.OperationCache>
>()
typeOf(Operation.execute(work, { name: "x", cache: undefined })).is<Effect.Effect<number, "refused", Needs>>()

// Options that only may have a timeout may fail with it.
declare const options: Operation.Options
typeOf(Operation.execute(work, options)).is<
  Effect.Effect<number, "refused" | Operation.OperationTimeoutError, Needs | OperationCache.OperationCache>
>()

typeOf(Operation.executeStream(stream, { name: "x" })).is<Stream.Stream<number, "refused", Needs>>()
typeOf(stream.pipe(Operation.executeStream({ name: "x" }))).is<Stream.Stream<number, "refused", Needs>>()

// @ts-expect-error -- an operation has a name
Operation.execute(work, {})
// @ts-expect-error -- neither of a stream is in its simple form
Operation.executeStream(stream, { name: "x", timeout: 5 })

// It does not stand in for the user.
declare const service: Layer.Layer<ServiceContext.ServiceContext>
void Effect.runPromise(Operation.execute(work, { name: "x" }).pipe(Effect.provide(asUser({})), Effect.provide(service)))
// @ts-expect-error -- nothing provides UserContext
void Effect.runPromise(Operation.execute(work, { name: "x" }).pipe(Effect.provide(service)))
