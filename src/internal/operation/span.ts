/** The span of an operation, `plugin.execute`, and its log lines: both name the operation and its caller. */
import { Channel, Context, Effect, Predicate, References, Scope, Stream, Tracer } from "effect"
import * as Caller from "../../Caller.ts"
import { runningLike } from "../../ExecutionContext.ts"
import type { SpanOptions } from "../../Operation.ts"
import * as Statement from "../failures/statement.ts"
import * as StreamContext from "../streamContext.ts"

/** `execute` for a given caller, with the span only, which the work may describe further. */
export const executeAs = <A, E, R>(
  work: (span: Tracer.Span) => Effect.Effect<A, E, R>,
  caller: Caller.Caller,
  options: SpanOptions & { readonly kind?: Tracer.SpanKind }
): Effect.Effect<A, E, R> =>
  Effect.useSpan("plugin.execute", { kind: options.kind ?? "internal" }, (span) => {
    const who = Caller.attributes(caller)
    describe(span, who, options)
    return Effect.updateContext(named(work(span), options.name), within<R>(span, who, options))
  })

/** `executeStream` for a given caller, and the context of the fiber that opens the stream. */
export const executeStreamAs = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  caller: Caller.Caller,
  context: Context.Context<never>,
  options: SpanOptions
): Stream.Stream<A, E, R> => {
  const who = Caller.attributes(caller)
  const spanOptions = { attributes: attributesOf(who, options), captureStackTrace: false }
  const channel = Stream.toChannel(
    Stream.tapCause(stream, (cause) => Effect.sync(() => Statement.nameFailure(cause, options.name)))
  )
  return Stream.fromChannel(
    Channel.fromTransformBracket((_, scope, spanScope) =>
      Effect.flatMap(Scope.provide(Effect.makeSpanScoped("plugin.execute", spanOptions), spanScope), (span) => {
        // Any fiber may pull, but the stream runs as the caller that opened it.
        const run = StreamContext.within((puller: Context.Context<R>) =>
          within<R>(span, who, options)(runningLike(puller, context), context)
        )
        return Effect.map(run(Channel.toPullScoped(channel, scope)), run)
      })
    )
  ) as Stream.Stream<A, E, R> // fromTransformBracket excludes the end of a stream from E, which never contains it
}

/** The log line of a failure has the name of its operation. */
export const named = <A, E, R>(work: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R> =>
  Effect.tapCause(work, (cause) => Effect.sync(() => Statement.nameFailure(cause, name)))

/** The context of the work: its span, and its log annotations beside those of `opener`. */
export const within =
  <R>(span: Tracer.Span, who: Attributes, options: SpanOptions) =>
  (context: Context.Context<R>, opener: Context.Context<never> = context): Context.Context<R> =>
    Context.add(
      Context.add(context, Tracer.ParentSpan, span),
      References.CurrentLogAnnotations,
      logged(opener, who, options)
    )

type Attributes = ReturnType<typeof Caller.attributes>

/** Sets the attributes of the span. The caller comes last, so that no attribute can override it. */
export const describe = (
  span: { readonly attribute: (name: string, value: unknown) => unknown },
  who: Attributes,
  options: SpanOptions
) => {
  for (const name in options.attributes) {
    const value = options.attributes[name]
    if (Predicate.isNotNullish(value) && name !== "execution.obo_dev_fallback") span.attribute(name, value)
  }
  span.attribute("operation.name", options.name)
  for (const name in who) span.attribute(name, who[name])
}

const attributesOf = (who: Attributes, options: SpanOptions) => {
  const attributes: Record<string, unknown> = {}
  describe({ attribute: (name, value) => (attributes[name] = value) }, who, options)
  return attributes
}

const logged = (context: Context.Context<never>, who: Attributes, { name }: SpanOptions) => ({
  ...Context.get(context, References.CurrentLogAnnotations),
  "operation.name": name,
  ...who
})
