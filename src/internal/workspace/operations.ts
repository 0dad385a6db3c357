/** The calls of a connector, each as one operation of its service. */
import { Context, Effect, type Stream } from "effect"
import * as Operation from "../../Operation.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import { withContext } from "../streamContext.ts"
import { type Page, pages } from "./pages.ts"

type Attributes = Operation.SpanOptions["attributes"]

export const make = (service: ServiceContext["Service"]) => {
  const call = <A, E, R, const O extends Operation.Policy>(
    name: string,
    attributes: Attributes,
    options: O,
    work: Effect.Effect<A, E, R>
  ) => {
    const { retry, timeout, totalTimeout }: Operation.Policy = options
    return work.pipe(
      Operation.execute({ name, attributes, retry, timeout, totalTimeout }),
      Effect.provideService(ServiceContext, service)
      // The compiler cannot see that options without a timeout cause no timeout error.
    ) as Effect.Effect<A, E | Operation.TimeoutOf<O>, Exclude<R, ServiceContext>>
  }

  const stream = <A, E, R>(name: string, attributes: Attributes, items: Stream.Stream<A, E, R>) =>
    withContext(
      Operation.executeStream(items, { name, attributes }),
      (puller: Context.Context<Exclude<R, ServiceContext>>) =>
        Context.add(puller, ServiceContext, service) as Context.Context<R | ServiceContext> // Exclude hides that R is whole again
    )

  /** Streams a list; `timeout` and `retry` apply to each page. */
  const list = <A, E, R>(
    name: string,
    attributes: Attributes,
    { retry, timeout }: Operation.Policy,
    page: (token: string | undefined) => Effect.Effect<Page<A>, E, R>
  ) =>
    stream(
      name,
      attributes,
      pages((token) => Operation.limited(page(token), name, { retry, timeout }))
    )

  return { call, stream, list }
}
