import { assert, layer } from "@effect/vitest"
import { AiSearch, asService } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Cause, Effect, Exit, Fiber, Schema, Stream } from "effect"
import { eventually } from "./fixtures/eventually.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import {
  articles,
  failed,
  fast,
  forever,
  hers,
  Id,
  late,
  Live,
  Local,
  nextPages,
  paged,
  queries,
  stale,
  states
} from "./fixtures/search.ts"
import { spansOf } from "./fixtures/spans.ts"
import { misbehave, reasonOf, recording } from "./fixtures/sqlWarehouse.ts"

const Numbered = Schema.Struct({ id: Schema.Int })
const words: AiSearch.Search = { text: "number", queryType: "full_text" }

const streamed = (target?: AiSearch.Target, options?: AiSearch.StreamOptions) =>
  AiSearch.index(paged, target)
    .stream(
      Numbered,
      options
    )(words)
    .pipe(Stream.map(({ row }) => row.id))

const all = [1, 2, 3, 4, 5, 6, 7]

layer(Local, { timeout: "60 seconds", excludeTestServices: true })("AiSearch", (it) => {
  it.layer(Live)("index(…).stream", (it) => {
    it.effect("streams the hits of all pages, empty ones among them, as one operation of the caller", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const { exit, spans } = yield* spansOf(as(alice)(Stream.runCollect(streamed())))
        assert.deepStrictEqual(exit, Exit.succeed(all))
        const operations = spans.filter(({ name }) => name === "plugin.execute")
        assert.lengthOf(operations, 1)
        assert.include(operations[0]!.attributes, {
          "operation.name": "search.stream",
          "search.index": paged,
          "search.query_type": "full_text",
          "execution.context": "user"
        })
        const [pages, reads] = [yield* seen("POST", nextPages), yield* seen("GET", states)]
        // Three pages of hits, and two empty ones before each.
        assert.lengthOf(pages, 8)
        for (const { body, user } of pages) {
          assert.strictEqual(user, alice)
          assert.include(body, '"endpoint_name":"pages"')
        }
        assert.lengthOf(reads, 1)
      })
    )

    it.effect("does not read the state if the code names the endpoint", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        assert.deepStrictEqual(yield* Stream.runCollect(streamed({ endpoint: "pages" })), all)
        assert.lengthOf(yield* seen("GET", states), 0)
        const other = yield* reasonOf(Stream.runCollect(streamed({ endpoint: "other" })))
        assert.strictEqual(other._tag, "InvalidRequestError")
      })
    )

    it.effect("asks for the next page only when its first hit is pulled", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const target = { endpoint: "pages" }
        assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(streamed(target), 3)), [1, 2, 3])
        assert.lengthOf(yield* seen("POST", nextPages), 2)
      })
    )

    it.effect("asks again for a page that was refused, cut or lost, and for that page only", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const path = (path: string) => nextPages.test(path)
        yield* misbehave({ kind: "answer", status: 503, path, times: 1 })
        yield* misbehave({ kind: "cut", path, times: 1 })
        yield* misbehave({ kind: "drop", when: "after", path, times: 1 })
        const patient = { retry: { attempts: 4, delay: 1 } }
        assert.deepStrictEqual(yield* Stream.runCollect(streamed({ endpoint: "pages" }, patient)), all)
        assert.lengthOf(yield* seen("POST", nextPages), 11)
        assert.lengthOf(yield* seen("POST", queries), 1)
      })
    )

    it.effect("limits the time of each page", () =>
      Effect.gen(function* () {
        yield* misbehave({ kind: "stall", path: (path) => queries.test(path) })
        const error = yield* Effect.flip(Stream.runDrain(streamed({}, { timeout: "100 millis" })))
        assert.include(error, { _tag: "OperationTimeoutError", operation: "search.stream" } as object)
      })
    )

    it.effect("aborts the request under way when its reader leaves", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        yield* misbehave({ kind: "hang", path: (path) => nextPages.test(path), times: 1 })
        const fiber = yield* Effect.forkChild(Stream.runDrain(streamed({ endpoint: "pages" })))
        yield* eventually(seen("POST", nextPages), (all) => all.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* eventually(seen("POST", nextPages), (all) => all[0]!.aborted)
      })
    )
  })

  it.layer(Live)("index(…).nextPage", (it) => {
    it.effect("returns one page at a time, until a page without a token", () =>
      Effect.gen(function* () {
        const { nextPage, query } = AiSearch.index(paged)
        const found: Array<ReadonlyArray<number>> = []
        let page = yield* query(Numbered)(words)
        for (;;) {
          assert.strictEqual(page.rowCount, page.hits.length)
          found.push(page.hits.map(({ row }) => row.id))
          if (page.nextPageToken === undefined) break
          page = yield* nextPage(Numbered)(page.nextPageToken)
        }
        assert.deepStrictEqual(found, [[], [], [1, 2, 3], [], [], [4, 5, 6], [], [], [7]])
      })
    )

    it.effect("refuses a token of another user, of another index, and one that was never issued", () =>
      Effect.gen(function* () {
        const { nextPage, query } = AiSearch.index(paged)
        const { nextPageToken } = yield* as(alice)(query(Numbered)(words))
        const token = nextPageToken!
        for (const refused of [
          as(bob)(nextPage(Numbered)(token)),
          as(alice)(AiSearch.index(articles).nextPage(Numbered)(token)),
          as(alice)(nextPage(Numbered)("../../x"))
        ]) {
          const reason = yield* reasonOf(refused)
          assert.strictEqual(reason._tag, "InvalidRequestError")
          assert.include(reason.message, "Invalid page token")
        }
        assert.lengthOf((yield* as(alice)(nextPage(Numbered)(token))).hits, 0)
      })
    )
  })

  it.layer(Live)("index(…).state, sync and ready", (it) => {
    it.effect("reads the state", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* AiSearch.index(articles).state, {
          isReady: true,
          detailedState: "ONLINE_NO_PENDING_UPDATE",
          indexedRowCount: 4,
          message: undefined,
          endpoint: "local",
          indexType: "DELTA_SYNC",
          primaryKey: "id"
        })
      })
    )

    it.effect("waits until the index takes queries, also while the workspace refuses and truncates", () =>
      Effect.gen(function* () {
        const path = (path: string) => states.test(path)
        yield* misbehave({ kind: "answer", status: 503, path, times: 5 })
        yield* misbehave({ kind: "answer", status: 200, body: "<html>", path, times: 1 })
        yield* misbehave({ kind: "cut", path, times: 1 })
        const { detailedState } = yield* fast(AiSearch.index(late).ready())
        assert.strictEqual(detailedState, "ONLINE_NO_PENDING_UPDATE")
        assert.lengthOf((yield* AiSearch.index(late).query(Id)({ vector: [1, 0] })).hits, 4)
      })
    )

    it.effect("starts a sync once, and waits for its end on request", () =>
      Effect.gen(function* () {
        const { ready, sync } = AiSearch.index(articles)
        yield* sync()
        const again = yield* Effect.flip(sync())
        if (again._tag !== "IndexNotReadyError") return assert.fail(again.message)
        assert.include(again.message, "Pipeline is in state RUNNING")
        assert.strictEqual((yield* ready()).detailedState, "ONLINE_TRIGGERED_UPDATE")
        yield* sync()
        assert.strictEqual((yield* fast(ready({ synced: true }))).detailedState, "ONLINE_NO_PENDING_UPDATE")
      })
    )

    it.effect("does not start a sync again that may have started", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        yield* misbehave({ kind: "drop", when: "after", path: (path) => path.endsWith("/sync"), times: 1 })
        const lost = yield* reasonOf(AiSearch.index(paged).sync({ retry: { attempts: 3, delay: 1 } }))
        assert.strictEqual(lost._tag, "ConnectionError")
        assert.lengthOf(yield* seen("POST", /\/sync$/), 1)
        yield* misbehave({ kind: "answer", status: 503, path: (path) => path.endsWith("/sync"), times: 1 })
        yield* fast(AiSearch.index(hers).sync()).pipe(as(alice))
        assert.lengthOf(yield* seen("POST", /\/sync$/), 3)
      })
    )

    it.effect("fails at once for an index that is offline, and after a failed sync only with synced", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(AiSearch.index(failed).ready())
        assert.include(error, {
          _tag: "IndexNotReadyError",
          detailedState: "OFFLINE_FAILED",
          isRetryable: false
        } as object)
        assert.include(error.message, `The index ${failed} is OFFLINE_FAILED: No such column`)
        const { ready, sync } = AiSearch.index(stale)
        yield* sync()
        assert.isTrue((yield* ready()).isReady)
        const unsynced = yield* Effect.flip(ready({ synced: true }))
        assert.include(unsynced, { _tag: "IndexNotReadyError", detailedState: "ONLINE_PIPELINE_FAILED" } as object)
      })
    )

    it.effect("stops waiting at its timeout, and for an index that is not there", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(AiSearch.index(forever).ready({ timeout: "100 millis" }))
        assert.include(error, { _tag: "OperationTimeoutError", operation: "search.ready" } as object)
        assert.strictEqual((yield* reasonOf(AiSearch.index("main.support.none").ready()))._tag, "NotFoundError")
        const denied = yield* as(bob)(reasonOf(AiSearch.index(hers).state))
        assert.include(denied.message, `needs SELECT on the index ${hers}`)
      })
    )
  })

  it.layer(Live)("user", (it) => {
    it.effect("queries as alice and as bob at once, also inside asService", () =>
      Effect.gen(function* () {
        const seen = yield* recording
        const mine = Effect.gen(function* () {
          const { index } = yield* AiSearch.user
          const { query, ready, state, stream } = index(paged, { endpoint: "pages" })
          yield* asService(query(Numbered)(words))
          yield* asService(state)
          yield* asService(ready())
          return yield* asService(Stream.runCollect(stream(Numbered)(words)))
        })
        yield* Effect.all([as(alice)(mine), as(bob)(mine)], { concurrency: 2 })
        for (const path of [queries, nextPages, states]) {
          const users = (yield* seen(path === states ? "GET" : "POST", path)).map(({ user }) => user)
          assert.sameMembers([...new Set(users)], [alice, bob])
          assert.lengthOf(
            users.filter((user) => user === alice),
            users.length / 2
          )
        }
      })
    )

    it.effect("sees an index that is alice's as alice only", () =>
      Effect.gen(function* () {
        const ids = Effect.flatMap(AiSearch.user, ({ index }) => index(hers).query(Id)({ vector: [1, 0] }))
        assert.lengthOf((yield* as(alice)(ids)).hits, 4)
        assert.strictEqual((yield* as(bob)(reasonOf(ids)))._tag, "PermissionDeniedError")
      })
    )

    it.effect("dies outside of the user's call, and sends nothing", () =>
      Effect.gen(function* () {
        const { index } = yield* as(alice)(AiSearch.user)
        const { nextPage, query, ready, state, stream, sync } = index(articles, { endpoint: "local" })
        const { requests } = yield* LocalWorkspace.LocalWorkspace
        const sent = Effect.map(requests, (all) => all.filter(({ path }) => path.includes("vector-search")).length)
        const before = yield* sent
        const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          query(Id)({ text: "money" }),
          nextPage(Id)("token"),
          Stream.runDrain(stream(Id)({ text: "money" })),
          state,
          sync(),
          ready()
        ]
        for (const call of calls) {
          for (const exit of [yield* Effect.exit(as(bob)(call)), yield* Effect.exit(call)]) {
            assert.isTrue(Exit.hasDies(exit as Exit.Exit<unknown, unknown>))
            assert.include(Cause.pretty((exit as Exit.Failure<unknown, unknown>).cause), "in the call that uses it")
          }
        }
        assert.strictEqual(yield* sent, before)
      })
    )
  })
})
