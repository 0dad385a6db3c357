/** The connections that a fiber or its parents hold. A request for another may have to wait for one of these. */
import { Context, Effect, type Fiber, Predicate, Scope, Stream } from "effect"
import type { SqlError } from "effect/sql"
import * as Deadlocks from "./deadlocks.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

interface Kept {
  readonly hold: Deadlocks.Hold
  /** The id of the fiber. The fiber itself would be retained and logged with its context. */
  readonly by: number
}

const Held = Context.Reference<ReadonlyArray<Kept>>("effect-databricks/Lakebase/Held", { defaultValue: () => [] })

/** Returns the holds of the fiber and its parents. */
export const heldBy = (fiber: AnyFiber): ReadonlyArray<Deadlocks.Hold> => {
  const kept = fiber.getRef(Held)
  return kept.length === 0 ? none : kept.filter(({ by, hold }) => hold.leftBy !== by).map(({ hold }) => hold)
}

const none: ReadonlyArray<Deadlocks.Hold> = []

/** The context in which the fiber, and its children, hold this connection too. */
export const holding = <R>(context: Context.Context<R>, fiber: AnyFiber, hold: Deadlocks.Hold): Context.Context<R> =>
  Context.add(context, Held, [
    ...fiber.getRef(Held).filter(({ hold }) => !Deadlocks.hasEnded(hold)),
    { hold, by: fiber.id }
  ])

/** Records that the fiber holds this connection from now on. */
export const keep = (hold: Deadlocks.Hold) =>
  Effect.withFiber((fiber) => {
    if (!heldBy(fiber).includes(hold)) fiber.setContext(holding(fiber.context, fiber, hold))
    return Effect.void
  })

/** The hold for which the opening stream will keep its connection. */
export const Opening = Context.Reference<Deadlocks.Hold | undefined>("effect-databricks/Lakebase/Opening", {
  defaultValue: () => undefined
})

/** Records that the fiber of a stream holds its connection, also if it passes the rows to other fibers. */
export const kept = <A>(stream: Effect.Effect<Stream.Stream<A, SqlError.SqlError>, SqlError.SqlError>) =>
  Stream.suspend(() => {
    const hold = Deadlocks.make()
    const opening = Stream.provideService(Stream.unwrap(Effect.andThen(handOver, stream)), Opening, hold)
    return Stream.transformPull(opening, (pull, scope) =>
      Effect.withFiber((opener) => {
        const { id } = opener
        let isPulled = false
        const first = Effect.withFiber((puller) => {
          if (!isPulled && isChild(puller, id)) hold.leftBy = id
          isPulled = true
          return keep(hold)
        })
        return Scope.addFinalizer(
          scope,
          Effect.sync(() => (hold.state = "ended"))
        ).pipe(Effect.andThen(keep(hold)), Effect.as(Effect.andThen(first, pull)))
      })
    )
  })

/** Lets children start reading the streams that the fiber opened for them: `Stream.mergeAll` opens them in turn. */
const handOver = Effect.withFiber((fiber) => (heldBy(fiber).length > 0 ? Effect.yieldNow : Effect.void))

// A child ends by itself; a fiber forked in a scope may wait for its opener. Fiber's interface lacks the parent.
const isChild = (fiber: AnyFiber, id: number) =>
  Predicate.hasProperty(fiber, "_parent") && Predicate.hasProperty(fiber._parent, "id") && fiber._parent.id === id
