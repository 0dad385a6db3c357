/** What a library that is built on this package declares: every type arrives at the library's own users. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { join } from "node:path"
import { root } from "../fixtures/fences.ts"
import { closed, entries, makeApplication, modules, specifier } from "../fixtures/packed.ts"

/** Uses of the public signatures, whose types the compiler has to write down. */
const library = `
  import { Effect, Schema } from "effect"
  import {
    AsUser, ExecutionContext, getWorkspaceClient, IdentityVerifier, Lakebase, Middleware, Operation, OperationCache,
    RunsAs, ServiceContext, SqlWarehouse, WorkspaceClient
  } from "effect-databricks"
  import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"

  export const Sale = Schema.Struct({ region: Schema.String })

  export const query = SqlWarehouse.query(Sale)
  export const queryText = SqlWarehouse.queryText(Sale, { timeout: "1 minute" })
  export const stream = SqlWarehouse.stream(Sale)
  export const streamText = SqlWarehouse.streamText()
  export const sales = query\`SELECT region FROM sales\`
  export const mine = Effect.map(SqlWarehouse.user, (_) => _.query(Sale))
  export const valuesOf = SqlWarehouse.valuesOf

  export const stats = Lakebase.Lakebase.use((_) => _.stats)
  export const pgConfig = Lakebase.pgConfig
  export const ofCaller = Effect.map(Lakebase.Lakebase, (_) => _.clientOf)

  export const cache = OperationCache.layer
  export const execute = Operation.execute({ name: "sales", timeout: "1 second" })

  export const service = Effect.map(ServiceContext.ServiceContext, ({ identityVerifier, principal, warehouseId }) =>
    ({ identityVerifier, principal, warehouseId }))
  export const caller = ExecutionContext.current
  export const client = getWorkspaceClient
  export const calls = Effect.map(WorkspaceClient.WorkspaceClient, ({ fetch, request, requestJson, send, use }) =>
    ({ fetch, request, requestJson, send, use }))
  export const makeVerifier = IdentityVerifier.make

  export const layer = Middleware.layer
  export const api = RunsAs.checked(
    HttpApi.make("api").add(HttpApiGroup.make("sales").add(HttpApiEndpoint.get("list", "/sales")).middleware(AsUser))
  )
`

const consumer = `
  import type { Effect, Layer, Stream } from "effect"
  import type { Caller, IdentityVerifier, Lakebase, OperationCache, SqlWarehouse, WorkspaceClient } from "effect-databricks"
  import * as Library from "sales-kit"

  type IsAny<T> = 0 extends 1 & T ? true : false
  /** Does not compile for a type that is any. */
  declare const known: <T>(...any: IsAny<T> extends true ? [never] : []) => void
  /** The same of what a type is made of: parameters, results, fields, success, failure and requirements. */
  declare const function_: <T extends (...args: never) => unknown>(
    ...any: IsAny<T> extends true ? [never] : true extends IsAny<Parameters<T>[number]> | IsAny<ReturnType<T>> ? [never] : []
  ) => void
  declare const effect: <T extends Effect.Effect<unknown, unknown, unknown>>(
    ...any: true extends IsAny<T> | IsAny<Effect.Success<T>> | IsAny<Effect.Error<T>> | IsAny<Effect.Services<T>> ? [never] : []
  ) => void
  declare const fields: <T>(...any: true extends IsAny<T> | { [K in keyof T]: IsAny<T[K]> }[keyof T] ? [never] : []) => void
  declare const same: <A>() => <B>(
    ...different: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]
  ) => void

  // What any is, so that the checks are known to refuse it.
  // @ts-expect-error
  known<any>()
  // @ts-expect-error
  function_<(a: any) => string>()
  // @ts-expect-error
  effect<Effect.Effect<string, any>>()
  // @ts-expect-error
  fields<{ a: string; b: any }>()

  type Sale = typeof Library.Sale.Type

  function_<typeof Library.query>()
  function_<typeof Library.queryText>()
  function_<typeof Library.stream>()
  function_<typeof Library.streamText>()
  function_<typeof Library.valuesOf>()
  effect<typeof Library.sales>()
  effect<ReturnType<typeof Library.query>>()
  effect<ReturnType<typeof Library.queryText>>()
  effect<typeof Library.mine>()
  function_<Effect.Success<typeof Library.mine>>()
  same<ReadonlyArray<Sale>>()<Effect.Success<typeof Library.sales>>()
  same<Sale>()<Stream.Success<ReturnType<typeof Library.stream>>>()
  same<SqlWarehouse.Row>()<Stream.Success<ReturnType<typeof Library.streamText>>>()
  same<SqlWarehouse.Template<typeof Library.sales>>()<typeof Library.query>()
  same<SqlWarehouse.Text<ReturnType<typeof Library.queryText>>>()<typeof Library.queryText>()

  effect<typeof Library.stats>()
  fields<Effect.Success<typeof Library.stats>>()
  fields<Effect.Success<typeof Library.stats>["users"]>()
  same<Lakebase.Stats>()<Effect.Success<typeof Library.stats>["users"]>()
  effect<typeof Library.pgConfig>()
  fields<Lakebase.PgConfig>()
  same<Lakebase.PgConfig>()<Effect.Success<typeof Library.pgConfig>>()
  function_<Effect.Success<typeof Library.ofCaller>>()

  function_<typeof Library.cache>()
  fields<OperationCache.MemoryOptions>()
  same<OperationCache.MemoryOptions | undefined>()<Parameters<typeof Library.cache>[0]>()
  known<typeof Library.execute>()

  effect<typeof Library.service>()
  fields<Effect.Success<typeof Library.service>>()
  same<Caller.Caller>()<Effect.Success<typeof Library.service>["principal"]>()
  same<IdentityVerifier.IdentityVerifier>()<Effect.Success<typeof Library.service>["identityVerifier"]>()
  effect<typeof Library.caller>()
  effect<typeof Library.client>()
  fields<Effect.Success<typeof Library.client>>()
  same<WorkspaceClient.WorkspaceClient["Service"]>()<Effect.Success<typeof Library.client>>()
  fields<Effect.Success<typeof Library.calls>>()
  function_<Effect.Success<typeof Library.calls>["send"]>()
  function_<Effect.Success<typeof Library.calls>["fetch"]>()
  function_<typeof Library.makeVerifier>()
  effect<ReturnType<typeof Library.makeVerifier>>()

  known<typeof Library.layer>()
  known<Layer.Success<typeof Library.layer>>()
  known<Layer.Services<typeof Library.layer>>()
  known<typeof Library.api.groups>()
`

let application: Awaited<ReturnType<typeof makeApplication>>
beforeAll(async () => void (application = await makeApplication()), 180_000)
afterAll(() => application.remove())

describe("The packed package", { timeout: 180_000 }, () => {
  it("type-checks in a strict application whose skipLibCheck is false", () => {
    const imports = entries.map((_, index) => `import * as module${index} from "${specifier(_)}"`)
    const refusals = closed.map((_) => `// @ts-expect-error private\nimport "${specifier(_)}"`)
    application.write(
      "main.ts",
      `
        import { Effect } from "effect"
        import { asUser, getCurrentUserId } from "effect-databricks"
        import { TestContext } from "effect-databricks/testing"
        ${[...imports, ...refusals].join("\n")}
        export const all = [${imports.map((_, index) => `module${index}`)}]
        const id = getCurrentUserId.pipe(Effect.provide(asUser({})), Effect.provide(TestContext.layer()))
        export const typed: Effect.Effect<string, unknown> = id
        // @ts-expect-error a string is not a number, so the types are there
        export const refused: Effect.Effect<number, unknown> = id
      `
    )
    assert.strictEqual(application.tsc(["main.ts"]), "")
  })
})

describe("A library built on effect-databricks", { timeout: 180_000 }, () => {
  it("declares types that compile for its users and are never any", () => {
    application.write("library/index.ts", library)
    const outDir = "node_modules/sales-kit"
    application.write(
      `${outDir}/package.json`,
      JSON.stringify({ name: "sales-kit", type: "module", exports: "./index.js" })
    )
    assert.strictEqual(application.tsc(["library/index.ts"], { declaration: true, rootDir: "library", outDir }), "")
    const declared = fs.readFileSync(join(application.folder, outDir, "index.d.ts"), "utf8")
    assert.deepStrictEqual([...declared.matchAll(/import\("[^"]*\/internal\/[^"]*"\)[.\w]*/g)].join(" "), "")
    application.write("main.ts", consumer)
    assert.strictEqual(application.tsc(["main.ts"]), "")
  })

  it("gets no declaration of internal exports, such as runningAs", () => {
    const internal = modules.flatMap((module) =>
      [
        ...fs
          .readFileSync(join(root, "src", `${module}.ts`), "utf8")
          .matchAll(/@internal\n(?:(?! +\*\/).*\n)* \*\/\nexport \w+ (\w+)/g)
      ].map(([, name = ""]) => ({ module, name }))
    )
    assert.includeMembers(
      internal.map((_) => _.name),
      ["callerOf", "runningAs", "timed", "timedOut"]
    )
    for (const { module, name } of internal) {
      const declared = fs.readFileSync(join(application.installed, "dist", `${module}.d.ts`), "utf8")
      assert.notMatch(declared, new RegExp(`export (declare )?\\w+ ${name}\\b`), `${module}.${name}`)
    }
  })
})
