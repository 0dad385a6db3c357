/** What Effect does, and why src/internal/http/preResponse.ts is there: when this fails, it can go. */
import { assert, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { HttpEffect, HttpServerResponse } from "effect/http"

const Caller = Context.Reference<string>("test/Caller", { defaultValue: () => "the application" })

it.effect("effect runs a pre-response handler outside of the middleware under which it was registered", () =>
  Effect.gen(function* () {
    const sayWho = HttpEffect.appendPreResponseHandler((_, response) =>
      Effect.map(Caller, (who) => HttpServerResponse.setHeader(response, "x-who", who))
    )
    const route = Effect.as(sayWho, HttpServerResponse.text("x")).pipe(Effect.provideService(Caller, "alice"))
    const answer = yield* Effect.promise(() => HttpEffect.toWebHandler(route)(new Request("http://localhost/")))
    assert.strictEqual(answer.headers.get("x-who"), "the application")
  })
)
