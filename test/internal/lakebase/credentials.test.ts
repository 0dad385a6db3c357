import { assert, describe, it } from "@effect/vitest"
import { type DatabricksError, getWorkspaceClient, ServiceContext } from "effect-databricks"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Credentials from "../../../src/internal/lakebase/credentials.ts"
import { onWire } from "../../fixtures/wire.ts"

describe("Credentials.token", () => {
  /** Runs with an endpoint whose tokens all end at the same time, and says how many it has minted after one is asked for. */
  const minting = <E>(
    expires: string,
    then: (minted: Effect.Effect<number, DatabricksError.DatabricksError>) => Effect.Effect<void, E>
  ) =>
    onWire(
      (response) => response.end(JSON.stringify({ token: "token", expire_time: expires })),
      (seen) =>
        Effect.gen(function* () {
          const { principal } = yield* ServiceContext.ServiceContext
          const { send } = yield* getWorkspaceClient
          const { token } = yield* Credentials.make(send, "e", Duration.seconds(5))
          const minted = Effect.map(token(principal), () => seen.length)
          assert.strictEqual(yield* minted, 1)
          yield* then(minted)
        })
    )

  it.effect("mints a new token 2 minutes before the end of the last, also when the system's clock is set back", () =>
    minting("1970-01-01T00:30:00Z", (minted) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("-1 hour")
        yield* TestClock.adjust(Duration.millis(28 * 60_000 - 1))
        assert.strictEqual(yield* minted, 1)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(yield* minted, 2)
      })
    )
  )

  it.effect("keeps a token for less than 1 hour where the system's clock is behind", () =>
    minting("1970-01-03T00:00:00Z", (minted) =>
      Effect.gen(function* () {
        yield* TestClock.adjust("57 minutes")
        assert.strictEqual(yield* minted, 1)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* minted, 2)
      })
    )
  )
})
