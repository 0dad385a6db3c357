/** Calls of the app from the page, typed by its Api. */
import { Cause, Effect, type Exit, Fiber } from "effect"
import { FetchHttpClient } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { useEffect, useState } from "react"
import { Api } from "../src/Api.ts"

const make = HttpApiClient.make(Api, { baseUrl: location.origin })

type Client = Effect.Success<typeof make>

export const call = <A, E>(use: (client: Client) => Effect.Effect<A, E>) =>
  make.pipe(Effect.flatMap(use), Effect.provide(FetchHttpClient.layer))

/** Runs a call when the component appears and whenever `version` changes; aborts its request when that is over. */
export const useCall = <A, E>(effect: Effect.Effect<A, E>, version?: unknown): Exit.Exit<A, E> | undefined => {
  const [exit, setExit] = useState<Exit.Exit<A, E>>()
  useEffect(() => {
    const fiber = Effect.runFork(effect)
    const stop = fiber.addObserver(setExit)
    return () => {
      stop()
      Effect.runFork(Fiber.interrupt(fiber))
    }
  }, [effect, version])
  return exit
}

export const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}
