/** Timeouts, spans, statements and the services of a request, around work that costs nothing. */
import { Context, Effect, Exit, Fiber, Option, Tracer } from "effect"
import { Statement } from "effect/sql"
import { measure } from "./cost.ts"

const answer = Effect.callback<number>((resume) => {
  setImmediate(() => resume(Effect.succeed(1)))
})

/** A timeout with one fiber and one timer. */
const timeoutByTimer = <A, E>(self: Effect.Effect<A, E>, millis: number) =>
  Effect.withFiber<Option.Option<A>, E>((parent) =>
    Effect.callback((resume) => {
      const fiber = Effect.runForkWith(parent.context)(self)
      const timer = setTimeout(() => resume(Effect.as(Fiber.interrupt(fiber), Option.none())), millis)
      fiber.addObserver((exit) => {
        clearTimeout(timer)
        resume(Exit.map(exit, Option.some))
      })
      return Effect.andThen(
        Effect.sync(() => clearTimeout(timer)),
        Fiber.interrupt(fiber)
      )
    })
  )

export const timeouts = () =>
  measure("A timeout around an answer of a later turn", [
    { name: "no timeout", run: () => Effect.runPromise(answer) },
    {
      name: "Effect.timeoutOption",
      run: () => Effect.runPromise(Effect.timeoutOption(answer, 30_000)),
      over: "no timeout"
    },
    {
      name: "one fiber and one timer",
      run: () => Effect.runPromise(timeoutByTimer(answer, 30_000)),
      over: "no timeout"
    }
  ])

const attributes = { "operation.name": "sql", "execution.context": "user", "caller.id": "1@2", "enduser.id": "1" }
const recording = Context.make(Tracer.Tracer, Tracer.make({ span: (options) => new Tracer.NativeSpan(options) }))
const inSpan = Effect.useSpan("work", { attributes }, () => Effect.void)

export const spans = () =>
  measure("A span with 4 attributes", [
    { name: "no span", run: () => Effect.runSync(Effect.void) },
    { name: "Effect.useSpan", run: () => Effect.runSync(inSpan), over: "no span" },
    { name: "Effect.useSpan, another tracer", run: () => Effect.runSyncWith(recording)(inSpan), over: "no span" },
    {
      name: "Effect.withSpan",
      run: () => Effect.runSync(Effect.withSpan(Effect.void, "work", { attributes })),
      over: "no span"
    },
    {
      name: "Effect.withSpan without captureStackTrace",
      run: () => Effect.runSync(Effect.withSpan(Effect.void, "work", { attributes, captureStackTrace: false })),
      over: "no span"
    }
  ])

const keys = Array.from({ length: 48 }, (_, index) => Context.Service<number>(`bench/${index}`))
const services = (from: number, to: number, context: Context.Context<number> = Context.make(keys[from]!, 1)) =>
  keys.slice(from, to).reduce((context, key) => Context.add(context, key, 1), context)
const flat = (context: Context.Context<number>) => Context.makeUnsafe<number>(new Map(context.mapUnsafe))

/** An application has 20 services, a group of endpoints was built with 20, and a request adds 7. */
export const application = flat(services(0, 20))
const group = flat(services(10, 30))
const requested = () => services(40, 47, application)

export const contexts = () =>
  measure("The context of a request: 7 services on an application's 20", [
    { name: "Context.add × 7", run: requested },
    {
      name: "Context.merge with the 20 of a group",
      run: () => Context.merge(requested(), group),
      over: "Context.add × 7"
    }
  ])

const compiler = Statement.makeCompilerSqlite()
/** With the parameter that the interface leaves out, and with which the compiler keeps nothing. */
const compile: (
  statement: Statement.Fragment,
  withoutTransform: boolean,
  placeholder: () => string
) => ReturnType<Statement.Compiler["compile"]> = compiler.compile.bind(compiler)
const statement = () =>
  Statement.fragment([Statement.literal("SELECT item FROM sales WHERE region = "), Statement.parameter("north")])

// As many that the collections of the heap are part of it.
export const statements = () =>
  measure(
    "A new statement",
    [
      { name: "compile", run: () => compiler.compile(statement(), false) },
      { name: "compile, keeping nothing", run: () => compile(statement(), false, () => "?") }
    ],
    { rounds: 10, times: 200_000 }
  )
