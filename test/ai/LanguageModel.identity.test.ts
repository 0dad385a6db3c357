import { assert, layer } from "@effect/vitest"
import {
  asService,
  asUser,
  ExecutionContext,
  ModelServing,
  ServiceContext,
  SqlWarehouse,
  UserContext
} from "effect-databricks"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"
import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
import { Cause, Effect, ExecutionPlan, Exit, Fiber, Layer, Schema, Stream } from "effect"
import { Chat, LanguageModel, type Response, Tool, Toolkit } from "effect/ai"
import { alice, as, bob, requestOf } from "../fixtures/people.ts"
import { serviceContext } from "../fixtures/workspace.ts"

const Row = Schema.Struct({ owner: Schema.String, units: Schema.Number })

const parameters = Schema.Struct({ region: Schema.String })

/** Reads as the caller of the fiber, and as the user. */
const Sales = Tool.make("sales", { parameters, success: Schema.Array(Row), dependencies: [SqlWarehouse.SqlWarehouse] })
const Mine = Tool.make("mine", {
  parameters,
  success: Schema.Array(Row),
  dependencies: [SqlWarehouse.SqlWarehouse, UserContext]
})
const Who = Tool.make("who", { success: Schema.String, dependencies: [ServiceContext.ServiceContext] })

const tools = Toolkit.make(Sales, Mine)
const whoTools = Toolkit.make(Who)

// Built once, at start-up, for all users.
const Handlers = Layer.merge(
  tools.toLayer({
    sales: ({ region }) =>
      Effect.orDie(SqlWarehouse.query(Row)`SELECT owner, units FROM visible_sales WHERE region = ${region}`),
    mine: ({ region }) =>
      Effect.orDie(
        Effect.flatMap(
          SqlWarehouse.user,
          ({ query }) => query(Row)`SELECT owner, units FROM visible_sales WHERE region = ${region}`
        )
      )
  }),
  whoTools.toLayer({
    who: () =>
      Effect.andThen(
        Effect.yieldNow,
        Effect.map(ExecutionContext.current, ({ userName }) => userName)
      )
  })
)

const both = (turn: number) => ({
  toolCalls: [
    { id: `a${turn}`, name: "sales", arguments: { region: "EMEA" } },
    { id: `b${turn}`, name: "mine", arguments: { region: "EMEA" } },
    { id: `c${turn}`, name: "sales", arguments: { region: "APAC" } }
  ]
})

/** Asks for the user's rows, and says what it got when it has them. */
const agent = LocalServing.chat(({ messages }) => {
  const last = messages.at(-1)!
  return last.role === "user"
    ? both(messages.length)
    : {
        text: JSON.stringify(
          messages
            .filter(({ role }) => role === "tool")
            .slice(-3)
            .toSorted((a, b) => a.tool_call_id!.localeCompare(b.tool_call_id!))
            .map(({ content }) => content)
        )
      }
})
const caller = LocalServing.chat((_, { user }) => ({ text: user }))
const crowd = LocalServing.chat(() => ({ toolCalls: Array.from({ length: 50 }, () => ({ name: "who" })) }))
const busy = LocalServing.chat(() => LocalServing.refuse(503, "Busy"))

const Agent = DatabricksLanguageModel.model("agent")

const Live = Layer.mergeAll(Handlers, ModelServing.layer).pipe(
  Layer.provideMerge(SqlWarehouse.layer),
  Layer.provideMerge(serviceContext())
)

const Workspace = LocalWorkspace.layer({ serving: { agent, busy, caller, crowd } })

/** Each user has one row of each region, and the app has none. */
const rows = LocalWorkspace.LocalWorkspace.use(({ administer }) =>
  administer(`
    CREATE TABLE IF NOT EXISTS sales (owner text, region text, units int);
    DELETE FROM sales;
    INSERT INTO sales VALUES ('${alice}', 'EMEA', 1), ('${alice}', 'APAC', 2), ('${bob}', 'EMEA', 3), ('${bob}', 'APAC', 4);
    CREATE OR REPLACE VIEW visible_sales AS SELECT * FROM sales WHERE owner = current_user;
    GRANT SELECT ON visible_sales TO PUBLIC;
  `)
)

const expected = (user: string) => {
  const [emea, apac] = user === alice ? [1, 2] : [3, 4]
  return [[{ owner: user, units: emea }], [{ owner: user, units: emea }], [{ owner: user, units: apac }]]
}

const resultsOf = (parts: ReadonlyArray<Response.AnyPart>) =>
  parts
    .flatMap((part) => (part.type === "tool-result" ? [part] : []))
    .toSorted((a, b) => a.id.localeCompare(b.id))
    .map(({ result }) => result as unknown)

/** Runs for both users at once, several times. */
const forBoth = <A, E, R>(effect: (user: string) => Effect.Effect<A, E, R>) =>
  Effect.forEach([alice, bob, alice, bob], (user) => as(user)(effect(user)), {
    concurrency: "unbounded",
    discard: true
  })

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("The caller of ai/LanguageModel", (it) => {
  it.layer(Layer.provideMerge(Layer.provideMerge(Agent, Live), Layer.effectDiscard(rows)))(
    "built once, called by two users at a time",
    (it) => {
      it.effect("read each user's own rows in parallel calls", () =>
        forBoth((user) =>
          Effect.gen(function* () {
            const { content } = yield* LanguageModel.generateText({ prompt: "Sales?", toolkit: tools })
            assert.deepStrictEqual(resultsOf(content), expected(user))
          })
        )
      )

      it.effect("read each user's own rows in streams", () =>
        forBoth((user) =>
          Effect.gen(function* () {
            const parts = yield* Stream.runCollect(LanguageModel.streamText({ prompt: "Sales?", toolkit: tools }))
            assert.deepStrictEqual(resultsOf(parts), expected(user))
            assert.deepInclude(parts.at(-1), { type: "finish", reason: "tool-calls" })
          })
        )
      )

      it.effect("read each user's own rows in a continued Chat, and the model answers from them", () =>
        forBoth((user) =>
          Effect.gen(function* () {
            const chat = yield* Chat.empty
            for (let turn = 0; turn < 2; turn++) {
              yield* Stream.runDrain(chat.streamText({ prompt: "Sales?", toolkit: tools }))
              const { text } = yield* chat.generateText({ prompt: [], toolkit: tools })
              assert.deepStrictEqual(
                (JSON.parse(text) as ReadonlyArray<string>).map((content) => JSON.parse(content) as unknown),
                expected(user)
              )
            }
          })
        )
      )

      it.effect("read as the reader of a Chat, whoever of them began it", () =>
        Effect.gen(function* () {
          const chat = yield* Chat.empty
          for (const user of [alice, bob, alice]) {
            const { content } = yield* as(user)(chat.generateText({ prompt: "Sales?", toolkit: tools }))
            assert.deepStrictEqual(resultsOf(content), expected(user))
            yield* as(user)(chat.generateText({ prompt: [], toolkit: tools }))
          }
        })
      )
    }
  )

  it.layer(Layer.provideMerge(Layer.provideMerge(Agent, Live), Layer.effectDiscard(rows)))("of a tool", (it) => {
    const user = DatabricksLanguageModel.user("agent")
    const whole = Effect.map(LanguageModel.generateText({ prompt: "Sales?", toolkit: tools }), (_) => _.content)
    const streamed = Stream.runCollect(LanguageModel.streamText({ prompt: "Sales?", toolkit: tools }))
    const asked: ReadonlyArray<Effect.Effect<ReadonlyArray<Response.AnyPart>, unknown, Effect.Services<typeof whole>>> =
      [whole, streamed]

    it.effect("is the app under asService, where a tool that requires the user still runs as the user", () =>
      Effect.gen(function* () {
        for (const parts of asked) {
          const [app, mine, other] = resultsOf(yield* as(bob)(asService(Effect.provide(parts, user))))
          assert.deepStrictEqual([app, mine, other], [[], [{ owner: bob, units: 3 }], []])
          assert.strictEqual((yield* agent.calls).at(-1)!.user, bob)
        }
      })
    )

    it.effect("is the next reader of a Chat that was exported by the first", () =>
      Effect.gen(function* () {
        const first = yield* Chat.fromPrompt([{ role: "system", content: "Be brief." }])
        yield* as(alice)(first.generateText({ prompt: "Sales?", toolkit: tools }))
        yield* as(alice)(first.generateText({ prompt: [], toolkit: tools }))
        const next = yield* Chat.fromJson(yield* first.exportJson)
        const { content } = yield* as(bob)(next.generateText({ prompt: "Sales?", toolkit: tools }))
        assert.deepStrictEqual(resultsOf(content), expected(bob))
      })
    )

    it.effect("is each reader of two streams that one fiber reads by turns", () =>
      Effect.gen(function* () {
        const partsOf = Effect.fnUntraced(function* (user: string) {
          const request = yield* requestOf(user)
          return LanguageModel.streamText({ prompt: "Sales?", toolkit: tools }).pipe(
            Stream.map((part) => [user, part] as const),
            Stream.provide(asUser(request))
          )
        })
        const parts = yield* Stream.runCollect(Stream.merge(yield* partsOf(alice), yield* partsOf(bob)))
        for (const user of [alice, bob]) {
          const own = parts.flatMap(([reader, part]) => (reader === user ? [part] : []))
          assert.deepStrictEqual(resultsOf(own), expected(user))
        }
      })
    )

    it.effect("is the caller of an ExecutionPlan, whose second endpoint calls it", () =>
      Effect.gen(function* () {
        const plan = ExecutionPlan.make(
          { provide: DatabricksLanguageModel.user("busy", {}, { retry: false }) },
          { provide: user }
        )
        yield* forBoth((user) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(resultsOf(yield* Effect.withExecutionPlan(whole, plan)), expected(user))
          })
        )
        const users = (yield* busy.calls).map((call) => call.user)
        assert.deepStrictEqual(users.toSorted(), [alice, alice, bob, bob])
      })
    )

    it.effect("is the caller in each of 50 parallel calls, beside another user and the app", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        const names = Effect.map(LanguageModel.generateText({ prompt: "Who?", toolkit: whoTools }), ({ content }) =>
          resultsOf(content)
        ).pipe(Effect.provide(DatabricksLanguageModel.model("crowd")))
        const all = yield* Effect.all([as(alice)(names), as(bob)(names), names, as(bob)(asService(names))], {
          concurrency: "unbounded"
        })
        const { clientId } = servicePrincipal
        assert.deepStrictEqual(
          all.map((names) => [names.length, ...new Set(names)]),
          [alice, bob, clientId, clientId].map((name) => [50, name])
        )
      })
    )
  })

  it.layer(Live)("user", (it) => {
    const User = DatabricksLanguageModel.user("caller")
    const text = Effect.map(LanguageModel.generateText({ prompt: "Who?" }), (response) => response.text)
    const streamed = Stream.runFold(
      LanguageModel.streamText({ prompt: "Who?" }),
      () => "",
      (all, part) => (part.type === "text-delta" ? all + part.delta : all)
    )

    it.effect("runs as the user, also under asService, where model runs as the app", () =>
      Effect.gen(function* () {
        const { servicePrincipal } = yield* LocalWorkspace.LocalWorkspace
        for (const asked of [text, streamed]) {
          for (const user of [alice, bob]) {
            assert.strictEqual(yield* as(user)(Effect.provide(asked, User)), user)
            assert.strictEqual(yield* as(user)(Effect.provide(asService(asked), User)), user)
            const Model = DatabricksLanguageModel.model("caller")
            assert.strictEqual(yield* as(user)(Effect.provide(asked, Model)), user)
            assert.strictEqual(yield* as(user)(asService(Effect.provide(asked, Model))), servicePrincipal.clientId)
          }
        }
      })
    )

    it.effect("keeps no user: what alice's call built runs as bob in his, and dies outside of any", () =>
      Effect.gen(function* () {
        const built = yield* as(alice)(Effect.provide(LanguageModel.LanguageModel, User))
        const run = Effect.provideService(text, LanguageModel.LanguageModel, built)
        assert.strictEqual(yield* as(bob)(run), bob)
        const exit = yield* Effect.exit(run)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        const stream = yield* Effect.exit(Effect.provideService(streamed, LanguageModel.LanguageModel, built))
        assert.isTrue(Exit.isFailure(stream) && Cause.hasDies(stream.cause))
      })
    )

    it.effect("is the user of the call in a detached fiber, and of a bound call in any fiber", () =>
      Effect.gen(function* () {
        const detached = yield* as(alice)(Effect.provide(Effect.forkDetach(text), User))
        assert.strictEqual(yield* Fiber.join(detached), alice)
        const bound = yield* as(alice)(Effect.provide(ExecutionContext.bound(streamed), User))
        assert.strictEqual(yield* as(bob)(bound), alice)
        assert.strictEqual(yield* bound, alice)
      })
    )
  })
})
