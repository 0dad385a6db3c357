import { assert, layer } from "@effect/vitest"
import { asService, Files, ServiceContext } from "effect-databricks"
import { Cause, Effect, Exit, Stream } from "effect"
import { Live, recording, shared, textOf, Workspace } from "./fixtures/files.ts"
import { alice, as, bob } from "./fixtures/people.ts"
import { spansOf } from "./fixtures/spans.ts"

const directory = `${shared}/identity`
const file = `${directory}/file`

/** Every method of the service, each on what those before it have left. */
const calls = (files: Files.Files["Service"]): Record<string, Effect.Effect<unknown, unknown>> => ({
  makeDirectory: files.makeDirectory(directory),
  write: files.write(file, "x"),
  list: Stream.runDrain(files.list(directory)),
  stat: files.stat(file),
  exists: files.exists(file),
  read: Stream.runDrain(files.read(file)),
  open: Effect.scoped(files.open(file)),
  remove: files.remove(file),
  removeDirectory: files.removeDirectory(directory)
})

layer(Workspace, { timeout: "60 seconds", excludeTestServices: true })("Files.user", (it) => {
  it.layer(Live)("in a call", (it) => {
    it.effect("runs every method as the user inside asService, each in one operation that says so", () =>
      Effect.gen(function* () {
        for (const [name, call] of Object.entries(calls(yield* Files.user))) {
          const seen = yield* recording
          const { exit, spans } = yield* spansOf(asService(call))
          if (Exit.isFailure(exit)) return assert.fail(`${name}: ${Cause.pretty(exit.cause)}`)
          for (const { user } of yield* seen) assert.strictEqual(user, alice, name)
          assert.isAbove((yield* seen).length, 0, name)
          const operations = spans.filter((span) => span.name === "plugin.execute")
          assert.lengthOf(operations, 1, name)
          const { attributes } = operations[0]!
          assert.strictEqual(attributes["operation.name"], `files.${name}`)
          assert.strictEqual(attributes["execution.context"], "user", name)
          assert.include([file, directory], attributes["files.path"], name)
        }
      }).pipe(as(alice))
    )

    it.effect("dies in another user's call for every method, and sends nothing", () =>
      Effect.gen(function* () {
        const hers = yield* Files.user.pipe(as(alice))
        const seen = yield* recording
        for (const [name, call] of Object.entries(calls(hers))) {
          const exit = yield* Effect.exit(call).pipe(as(bob))
          assert.include(String(exit), "is used in another user's call", name)
        }
        assert.deepStrictEqual(yield* seen, [])
      })
    )

    it.effect("reads the content to write with the services of the fiber, and not with its own", () =>
      Effect.gen(function* () {
        const service = yield* ServiceContext.ServiceContext
        const files = yield* Files.user
        const content = Stream.map(Stream.fromEffect(ServiceContext.ServiceContext), ({ workspaceId }) =>
          new TextEncoder().encode(workspaceId)
        )
        for (const { write } of [files, yield* Files.Files]) {
          yield* write(`${shared}/services`, content, { overwrite: true }).pipe(
            Effect.provideService(ServiceContext.ServiceContext, { ...service, workspaceId: "of the fiber" })
          )
          assert.strictEqual(yield* textOf(files.read(`${shared}/services`)), "of the fiber")
        }
      }).pipe(as(alice))
    )
  })
})
