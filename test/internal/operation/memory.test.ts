import { assert, describe, it } from "@effect/vitest"
import type { OperationCache } from "effect-databricks"
import { Clock, Duration, Effect, Option, Schema } from "effect"
import { TestClock } from "effect/testing"
import { entryBytes, make } from "../../../src/internal/operation/memory.ts"
import { sizeOf } from "../../../src/internal/operation/sizeOf.ts"

const Caller = Schema.Literals(["a", "b", "c"])
const Operation = Schema.Literals(["x", "y", "z"])

const Set = Schema.Struct({
  do: Schema.Literal("set"),
  caller: Caller,
  operation: Operation,
  size: Schema.Literals([0, 1, 100, 500, 1_000, 5_000]),
  seconds: Schema.Literals([1, 10, 3_600])
})
const Get = Schema.Struct({ do: Schema.Literal("get"), caller: Caller, operation: Operation })
// Each member is as likely as any other.
const Step = Schema.Union([
  Set,
  Set,
  Set,
  Set,
  Get,
  Get,
  Get,
  Get,
  Schema.Struct({ do: Schema.Literal("removeCaller"), caller: Caller }),
  Schema.Struct({ do: Schema.Literal("removeBoth"), caller: Caller, operation: Operation }),
  Schema.Struct({ do: Schema.Literal("removeOperation"), operation: Operation }),
  Schema.Struct({ do: Schema.Literal("removeName"), name: Schema.Literals(["n", "z"]) }),
  Schema.Struct({ do: Schema.Literal("pass"), seconds: Schema.Literals([1, 9, 600]) })
])

interface Kept {
  readonly key: OperationCache.Key
  readonly value: object
  readonly bytes: number
  readonly expiresAt: number
}

const keyOf = (caller: string, operation: string): OperationCache.Key => ({
  caller,
  name: operation === "z" ? "z" : "n",
  operation,
  id: operation + caller
})

const all = ["a", "b", "c"].flatMap((caller) => ["x", "y", "z"].map((operation) => keyOf(caller, operation)))

/** The plainest thing that is right: a list, the least recently used first. */
const makeModel = (maxEntries: number, maxBytes: number) => {
  let list: ReadonlyArray<Kept> = []
  const without = (which: OperationCache.Which) =>
    list.filter(
      ({ key }) =>
        (which.caller !== undefined && which.caller !== key.caller) ||
        (which.name !== undefined && which.name !== key.name) ||
        (which.operation !== undefined && which.operation !== key.operation)
    )
  return {
    get: (key: OperationCache.Key, now: number) => {
      const found = list.find((_) => _.key.id === key.id)
      list = without(key)
      if (found === undefined || found.expiresAt <= now) return undefined
      list = [...list, found]
      return found.value
    },
    set: (key: OperationCache.Key, value: object, expiresAt: number) => {
      list = without(key)
      const bytes = sizeOf(value, maxBytes) + 2 * key.id.length + entryBytes
      if (bytes > maxBytes) return
      list = [...list, { key, value, bytes, expiresAt }]
      const taken = () => list.reduce((sum, _) => sum + _.bytes, 0)
      while (list.length > maxEntries || taken() > maxBytes) list = list.slice(1)
    },
    remove: (which: OperationCache.Which) => {
      list = without(which)
    }
  }
}

describe("memory.make", () => {
  it.effect.prop(
    "keeps the entries that a least-recently-used list keeps, in any sequence of calls",
    {
      steps: Schema.Array(Step).check(Schema.isMinLength(100), Schema.isMaxLength(200)),
      maxEntries: Schema.Literals([0, 1, 2, 4, 100]),
      maxBytes: Schema.Literals([0, 700, 2_000, 4_000, 1_000_000])
    },
    ({ maxBytes, maxEntries, steps }) =>
      Effect.gen(function* () {
        const store = yield* make({ maxEntries, maxBytes })
        const model = makeModel(maxEntries, maxBytes)
        const check = Effect.fnUntraced(function* (key: OperationCache.Key) {
          const found = yield* store.get(key)
          // The very value, not one like it.
          assert.strictEqual(Option.getOrUndefined(found), model.get(key, yield* Clock.currentTimeMillis))
        })
        const set = Effect.fnUntraced(function* (key: OperationCache.Key, size: number, seconds: number) {
          const value = { data: new Uint8Array(size) }
          model.set(key, value, (yield* Clock.currentTimeMillis) + seconds * 1_000)
          yield* store.set(key, value, Duration.seconds(seconds))
        })
        const remove = (which: OperationCache.Which) => {
          model.remove(which)
          return store.remove(which)
        }
        for (const step of steps) {
          switch (step.do) {
            case "set":
              yield* set(keyOf(step.caller, step.operation), step.size, step.seconds)
              break
            case "get":
              yield* check(keyOf(step.caller, step.operation))
              break
            case "removeCaller":
              yield* remove({ caller: step.caller })
              break
            case "removeOperation":
              yield* remove({ operation: step.operation })
              break
            case "removeName":
              yield* remove({ name: step.name })
              break
            case "removeBoth":
              yield* remove({ caller: step.caller, operation: step.operation })
              break
            case "pass":
              yield* TestClock.adjust(step.seconds * 1_000)
          }
        }
        yield* Effect.forEach(all, check)
        // Nothing is left, and nothing is counted that is not there: there is as much room as in the beginning.
        yield* remove({})
        for (const key of all) assert.isTrue(Option.isNone(yield* store.get(key)))
        for (const key of all) yield* set(key, 100, 1)
        yield* Effect.forEach(all, check)
      }),
    { arbitrary: { runs: 300 } }
  )
})
