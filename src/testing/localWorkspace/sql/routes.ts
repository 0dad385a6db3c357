/** The routes of SQL warehouses and statements. */
import { Effect, Schema, Scope } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { contentTypes } from "./encodings.ts"
import * as ExternalLinks from "./externalLinks.ts"
import type { Faults } from "../http/faults.ts"
import type { Login } from "../postgres/session.ts"
import type { Directory } from "../identity/directory.ts"
import type { Principal } from "../identity/principals.ts"
import * as Replies from "../http/replies.ts"
import { adder, authenticated, body, pathOf } from "../http/requests.ts"
import type { View } from "../../LocalMetricView.ts"
import type { Limits } from "./results.ts"
import { parameterTypeOf } from "./types.ts"
import * as Statements from "./statements.ts"
import * as Warehouses from "./warehouses.ts"

export interface Options {
  readonly directory: Directory
  readonly warehouses: Warehouses.Warehouses
  readonly faults: Faults
  readonly limits: Limits
  readonly links: ExternalLinks.ExternalLinks
  readonly metricViews: ReadonlyArray<View>
  readonly scope: Scope.Scope
  readonly login: (caller: Principal) => Omit<Login, "parameters">
}

const Parameter = Schema.Struct({
  name: Schema.String,
  type: Schema.optional(Schema.String),
  value: Schema.optional(Schema.NullOr(Schema.String))
})

const ExecuteStatement = Schema.Struct({
  statement: Schema.String,
  warehouse_id: Schema.String,
  catalog: Schema.optional(Schema.String),
  schema: Schema.optional(Schema.String),
  parameters: Schema.optional(Schema.Array(Parameter)),
  row_limit: Schema.optional(Schema.Finite),
  byte_limit: Schema.optional(Schema.Finite),
  disposition: Schema.optional(Schema.Literals(["INLINE", "EXTERNAL_LINKS"])),
  format: Schema.optional(Schema.Literals(["JSON_ARRAY", "ARROW_STREAM", "CSV"])),
  wait_timeout: Schema.optional(Schema.String),
  on_wait_timeout: Schema.optional(Schema.String)
})

const defaultWait = "10s"
// The time for which a result can be fetched after the end of its statement, which is unknown afterwards.
const resultTtl = "1 hour"

/** Returns milliseconds: zero, or five to fifty seconds. */
const waitOf = (text: string) => {
  const seconds = /^\d+s$/.test(text) ? Number.parseInt(text) : Number.NaN
  return seconds === 0 || (seconds >= 5 && seconds <= 50)
    ? Effect.succeed(seconds * 1000)
    : Effect.fail(Replies.invalidParameter(`wait_timeout ${text} must be 0s or between 5s and 50s.`))
}

/** Returns a message for the first well-formed field whose value is not supported. */
const complaint = (request: typeof ExecuteStatement.Type): string | undefined => {
  const { on_wait_timeout = "CONTINUE" } = request
  if (on_wait_timeout !== "CONTINUE" && on_wait_timeout !== "CANCEL") {
    return `on_wait_timeout ${on_wait_timeout} must be CONTINUE or CANCEL.`
  }
  const untyped = request.parameters?.find(({ type }) => type !== undefined && parameterTypeOf(type) === undefined)
  return untyped === undefined ? undefined : `Parameter ${untyped.name} has the unsupported type ${untyped.type}.`
}

// The only inline format of each kind of warehouse. That a standard one has no inline Arrow is inferred.
const inline: Readonly<Record<Warehouses.WarehouseKind, readonly [format: string, otherwise: Replies.Refused]>> = {
  standard: ["JSON_ARRAY", Replies.inlineOnlyJson],
  arrow: ["ARROW_STREAM", Replies.inlineOnlyArrow],
  classic: ["JSON_ARRAY", Replies.inlineOnlyJson]
}

const parameter = (name: string) => Effect.map(HttpRouter.params, (params) => params[name] ?? "")

const json = (value: object) => HttpServerResponse.jsonUnsafe(value)

export const addTo = (router: HttpRouter.HttpRouter, options: Options) =>
  Effect.gen(function* () {
    const add = adder(router)
    const { faults, warehouses } = options
    const statements = new Map<string, Statements.Statement>()
    yield* Scope.addFinalizer(
      options.scope,
      Effect.sync(() => statements.forEach((statement) => statement.discard()))
    )
    const guarded = <E, R>(handle: (caller: Principal) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
      authenticated(options.directory)("sql", handle)

    const warehouse = (caller: Principal) =>
      Effect.flatMap(parameter("id"), (id) => {
        const found = warehouses.get(id)
        return found === undefined
          ? Effect.fail(Replies.warehouseNotFound(id))
          : found.mayUse(caller.userName)
            ? Effect.succeed(found)
            : Effect.fail(Replies.warehouseForbidden(id))
      })

    // Another caller's statement is a 404: a refusal would reveal that it exists.
    const statement = (caller: Principal) =>
      Effect.flatMap(parameter("id"), (id) => {
        const found = statements.get(id)
        return found?.owner.id === caller.id ? Effect.succeed(found) : Effect.fail(Replies.statementNotFound(id))
      })

    /** Starts a statement as its owner, who can then poll it and read its chunks. */
    const run = Effect.fnUntraced(function* (order: Statements.Order) {
      const started = yield* Statements.start(order, options.login(order.owner), options)
      statements.set(started.id, started)
      yield* started.untilEnded.pipe(
        Effect.andThen(Effect.sleep(resultTtl)),
        Effect.andThen(Effect.sync(() => statements.delete(started.id) && started.discard())),
        Effect.forkIn(options.scope)
      )
      return started
    })

    const execute = guarded((caller) =>
      Effect.gen(function* () {
        const request = yield* body(ExecuteStatement)
        const http = yield* HttpServerRequest.HttpServerRequest
        const wait = yield* waitOf(request.wait_timeout ?? defaultWait)
        const wrong = complaint(request)
        if (wrong !== undefined) return yield* Replies.invalidParameter(wrong)
        const warehouse = warehouses.get(request.warehouse_id)
        if (warehouse === undefined || warehouse.state() === "DELETED")
          return yield* Replies.unknownWarehouse(request.warehouse_id)
        if (!warehouse.mayUse(caller.userName)) return yield* Replies.warehouseForbidden(warehouse.id)
        const { disposition = "INLINE", format = "JSON_ARRAY" } = request
        const [inlineFormat, otherwise] = inline[warehouse.kind]
        if (disposition === "INLINE" && format !== inlineFormat) return yield* otherwise
        const order: Statements.Order = {
          disposition,
          format,
          owner: caller,
          warehouse,
          sql: request.statement,
          schema: request.schema,
          parameters: request.parameters ?? [],
          rowLimit: request.row_limit,
          byteLimit: request.byte_limit
        }
        const started = yield* run(order)
        started.pretendPending(faults.pendingPolls(http.method, pathOf(http)))
        const ended = wait > 0 && (yield* started.ended(wait))
        if (wait > 0 && !ended && request.on_wait_timeout === "CANCEL") yield* started.cancel
        return json(started.view())
      })
    )

    const poll = guarded((caller) => Effect.map(statement(caller), (found) => json(found.poll())))

    const chunk = guarded((caller) =>
      Effect.gen(function* () {
        const found = yield* statement(caller)
        const index = Number(yield* parameter("index"))
        if (found.state() !== "SUCCEEDED") return yield* Replies.statementNotReady(found.id, found.state())
        const chunk = found.chunk(index)
        return chunk === undefined ? yield* Replies.chunkNotFound(index) : json(chunk)
      })
    )

    // Without authentication, because the link is the permission.
    const download = Effect.gen(function* () {
      yield* options.links.check(yield* HttpServerRequest.HttpServerRequest)
      const found = statements.get(yield* parameter("id"))
      const bytes = found?.download(Number(yield* parameter("index")))
      return found === undefined || bytes === undefined
        ? yield* Replies.linkGone
        : HttpServerResponse.uint8Array(bytes, { contentType: contentTypes[found.format] })
    })

    const cancel = guarded((caller) =>
      statement(caller).pipe(
        Effect.flatMap((found) => found.cancel),
        Effect.as(HttpServerResponse.empty({ status: 200 }))
      )
    )

    const close = guarded((caller) =>
      statement(caller).pipe(
        Effect.flatMap((found) => found.close),
        Effect.as(json({}))
      )
    )

    const list = guarded((caller) =>
      Effect.sync(() => {
        const visible = [...warehouses.values()].filter((_) => _.state() !== "DELETED" && _.mayUse(caller.userName))
        return json({ warehouses: visible.map(Warehouses.toJson) })
      })
    )
    const get = guarded((caller) => Effect.map(warehouse(caller), (found) => json(Warehouses.toJson(found))))
    const start = guarded((caller) =>
      warehouse(caller).pipe(
        Effect.flatMap((found) => found.start),
        Effect.as(json({}))
      )
    )

    yield* add("GET", "/api/2.0/sql/warehouses", list)
    yield* add("GET", "/api/2.0/sql/warehouses/:id", get)
    yield* add("POST", "/api/2.0/sql/warehouses/:id/start", start)
    // The router also accepts a trailing slash.
    yield* add("POST", "/api/2.0/sql/statements", execute)
    yield* add("GET", "/api/2.0/sql/statements/:id", poll)
    yield* add("GET", "/api/2.0/sql/statements/:id/result/chunks/:index", chunk)
    yield* add("GET", `${ExternalLinks.path}/:id/:index`, download)
    yield* add("POST", "/api/2.0/sql/statements/:id/cancel", cancel)
    yield* add("DELETE", "/api/2.0/sql/statements/:id", close)
    return { run }
  })
