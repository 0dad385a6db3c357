import { assert, describe, layer } from "@effect/vitest"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { connection, get, run } from "./fixtures/child.ts"
import { eventually } from "./fixtures/eventually.ts"
import { type Line, linesOf, start } from "./fixtures/logged.ts"
import { otlpReceiver } from "./fixtures/otlpReceiver.ts"

layer(LocalWorkspace.layer(), { timeout: "2 minutes", excludeTestServices: true })("Logs", (it) => {
  describe("of a request", () => {
    it.effect("have one line with its route, status, time, ids and caller, whatever else logs it", () =>
      Effect.gen(function* () {
        for (const mode of ["usual", "disabled", "middleware"]) {
          const app = yield* start(mode)
          const traceparent = `00-${"a1".repeat(16)}-${"b2".repeat(8)}-01`
          yield* app.callAs("/orders/17?secret=4711", { "x-request-id": "r-1", traceparent })
          yield* app.call("/health")
          yield* app.call("/quiet")
          yield* app.call("/plain/18?secret=4711", { "x-request-id": "not\tone" })
          yield* app.line("GET /plain/:id 200")
          const [listening, looking, one, plain, ...more] = app.lines()
          assert.match(String(listening?.["message"]), /^Listening on /)
          assert.deepStrictEqual(more, [])
          assert.strictEqual(looking?.["message"], "looking")
          assert.strictEqual(looking?.["request_id"], "r-1")
          assert.strictEqual(looking?.["trace_id"], "a1".repeat(16))
          const { "caller.id": id, "enduser.id": scimId, ms, span_id, time, ...rest } = one!
          assert.deepStrictEqual(rest, {
            level: "INFO",
            message: "GET /orders/:id 200",
            method: "GET",
            route: "/orders/:id",
            status: 200,
            request_id: "r-1",
            trace_id: "a1".repeat(16),
            "execution.context": "user"
          })
          assert.isAbove(Date.parse(String(time)), Date.now() - 60_000)
          assert.isAbove(Number(ms), 0)
          assert.match(`${String(id)} ${String(scimId)} ${String(span_id)}`, /^\S+ \d+ [0-9a-f]{16}$/)
          assert.match(String(plain?.["request_id"]), /^[0-9a-f-]{36}$/)
          assert.notInclude(app.output.stdout, "4711")
        }
      })
    )

    it.effect("say the operation, the statement and the cause of a masked failure, without values and stacks", () =>
      Effect.gen(function* () {
        const app = yield* start()
        assert.strictEqual(
          yield* app.callAs("/wrong/hidden-value"),
          '500 {"_tag":"StatementFailedError","message":"Server error"}'
        )
        const line = yield* app.line("GET /wrong/:id 500")
        assert.deepInclude(line, {
          level: "ERROR",
          error: "StatementFailedError",
          "execution.context": "user",
          "operation.name": "sql.query",
          "db.query.text": "SELECT nope FROM nowhere WHERE id = :p_1"
        })
        assert.match(String(line["reason"]), /nowhere/)
        assert.match(String(line["cause"]), /^effect-databricks\/DatabricksError: .*nowhere/)
        assert.notMatch(app.output.stdout, /hidden-value|\\n {4}at /)
        assert.lengthOf(
          app.lines().filter((_) => _["level"] === "ERROR"),
          1
        )
      })
    )

    it.effect("say the operation of a failure without a statement", () =>
      Effect.gen(function* () {
        const app = yield* start()
        const lineOf = (id: string) =>
          eventually(
            () => app.lines().find((line) => line["request_id"] === id),
            (line) => line !== undefined
          ).pipe(Effect.map((line) => line!))
        const operations = {
          "GET /fails/:how 404": ["/fails/request", "workspace.request"],
          "GET /fails/:how 500": ["/fails/own", "orders.count"],
          "GET /fails/in/stream 200: the response broke off": ["/fails/in/stream", "orders.export"]
        } as const
        for (const [message, [path, operation]] of Object.entries(operations)) {
          yield* app.callAs(path)
          assert.strictEqual((yield* app.line(message))["operation.name"], operation, path)
        }
        assert.strictEqual(
          yield* app.callAs("/fails/login", { "x-request-id": "login" }),
          '500 {"_tag":"UnknownError","message":"Server error"}'
        )
        const login = yield* lineOf("login")
        assert.deepInclude(login, { level: "ERROR", status: 500, "operation.name": "lakebase.query" })
        assert.match(String(login["reason"]), /LAKEBASE_ENDPOINT is not set/)
        yield* app.callAs("/fails/wrapped", { "x-request-id": "wrapped" })
        assert.strictEqual((yield* lineOf("wrapped"))["operation.name"], "workspace.request")
      })
    )

    it.effect("say why a 401 is one", () =>
      Effect.gen(function* () {
        const app = yield* start()
        yield* app.call("/orders/1")
        const line = yield* app.line("GET /orders/:id 401")
        assert.strictEqual(line["level"], "INFO")
        assert.strictEqual(line["error"], "AuthenticationError")
        assert.match(String(line["reason"]), /it did not come through the Databricks Apps proxy/)
      })
    )

    it.effect("have a body that breaks off as an error, and a client that leaves as a 499 and none", () =>
      Effect.gen(function* () {
        const app = yield* start()
        assert.strictEqual(yield* app.call("/broken"), "cut off")
        const broken = yield* app.line("GET /broken 200: the response broke off")
        assert.deepInclude(broken, { level: "ERROR", status: 200, reason: "half way" })
        const client = yield* connection(app.port)
        client.send(get("/slow"))
        yield* app.printed("slow begun")
        client.destroy()
        const left = yield* app.line("GET /slow 499")
        assert.strictEqual(left["level"], "INFO")
        assert.notProperty(left, "cause")
      })
    )

    it.effect("say that a stream ended with an error event, without the sentence of a 400", () =>
      Effect.gen(function* () {
        const app = yield* start()
        assert.match(yield* app.call("/events/broken"), /^200 [^]*event: error\n/)
        const broken = yield* app.line("GET /events/broken 200: the stream ended with an error event")
        assert.deepInclude(broken, { level: "ERROR", reason: "half way", cause: "Error: half way" })
        assert.match(yield* app.call("/events/refused"), /^200 [^]*event: error\n.*4711/)
        const refused = yield* app.line("GET /events/refused 200: the stream ended with an error event")
        assert.deepInclude(refused, { level: "INFO", error: "Refused" })
        assert.notInclude(app.output.stdout, "4711")
      })
    )

    it.effect("have its id in the lines of a stream with resume, also after the client has left", () =>
      Effect.gen(function* () {
        const app = yield* start()
        const client = yield* connection(app.port)
        client.send("GET /events/kept HTTP/1.1\r\nhost: x\r\nx-request-id: r-1\r\n\r\n")
        yield* app.printed("kept begun")
        client.destroy()
        yield* app.line("GET /events/kept 499")
        yield* app.kill("SIGUSR2")
        const failed = yield* app.line("500 InternalServerError: half way")
        assert.strictEqual(failed["level"], "ERROR")
        const [, ...lines] = app.lines()
        assert.deepStrictEqual(
          lines.map((line) => line["request_id"]),
          ["r-1", "r-1", "r-1", "r-1"]
        )
      })
    )

    it.effect("say that of a defect with its stack, where its logger is disabled too", () =>
      Effect.gen(function* () {
        const app = yield* start()
        yield* app.call("/quiet/bug")
        assert.match(String((yield* app.line("GET /quiet/bug 500"))["cause"]), /^Error: a bug\n {4}at /)
      })
    )

    it.effect("name an error that the endpoint does not declare, and Failures where it is forgotten", () =>
      Effect.gen(function* () {
        const app = yield* start()
        for (const path of ["/cast", "/bare/cast"]) {
          assert.strictEqual(yield* app.callAs(path), '500 {"_tag":"InternalServerError","message":"Server error"}')
          const line = yield* app.line(`GET ${path} 500`)
          assert.match(String(line["reason"]), /does not declare the error Undeclared \(out of stock\).*Failures/)
          assert.strictEqual(line["cause"], "Undeclared: out of stock")
          assert.strictEqual(line["execution.context"], "user")
        }
      })
    )

    it.effect("have every value of a handler's annotations, also one that cannot be serialized", () =>
      Effect.gen(function* () {
        const app = yield* start()
        assert.strictEqual(yield* app.call("/odd"), "200 here")
        const line = yield* app.line("odd")
        assert.deepInclude(line, { big: "2n", symbol: "Symbol(of it)" })
        assert.include(String(line["throws"]), "toJSON")
      })
    )

    it.effect("show the path under the route of every path", () =>
      Effect.gen(function* () {
        const app = yield* start()
        yield* app.call("/nowhere/at/all?secret=4711")
        assert.strictEqual((yield* app.line("GET /nowhere/at/all 200"))["route"], "/nowhere/at/all")
        assert.notInclude(app.output.stdout, "4711")
      })
    )

    it.effect("name the error of a 415 and a 426, which no handler sends", () =>
      Effect.gen(function* () {
        const app = yield* start()
        assert.match(yield* app.call("/socket"), /^426 .*"UpgradeRequired".*needs a connection upgrade/)
        assert.deepInclude(yield* app.line("GET /socket 426"), { level: "INFO", error: "UpgradeRequired" })
        assert.match(
          yield* app.callAs("/orders", { "content-type": "text/plain" }, "text"),
          /^415 .*"UnsupportedMediaType"/
        )
        assert.deepInclude(yield* app.line("POST /orders 415"), {
          level: "INFO",
          error: "UnsupportedMediaType",
          reason: "This route does not accept a body of that content type"
        })
      })
    )
  })

  it.effect("without them a 5xx says its method and route", () =>
    Effect.gen(function* () {
      const app = yield* start("without")
      yield* app.callAs("/wrong/hidden-value")
      yield* app.printed("StatementFailedError")
      assert.match(app.output.stdout, /ERROR .*500 StatementFailedError: [^]*method: 'GET',\s+route: '\/wrong\/:id'/)
    })
  )

  it.effect("have the warning of a collector that is down in their format, wherever Telemetry stands", () =>
    Effect.gen(function* () {
      for (const mode of ["usual", "reversed", "beside", "beside, reversed"]) {
        const app = yield* start(mode, {
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
          OTEL_EXPORTER_OTLP_TIMEOUT: "50",
          OTEL_BSP_SCHEDULE_DELAY: "20"
        })
        yield* app.call("/plain/1")
        yield* app.printed("Telemetry is not exported")
        const isTold = (line: Line) => String(line["message"]).startsWith("Telemetry is not exported to 127.0.0.1:1: ")
        yield* eventually(
          () => app.lines().find(isTold),
          (line) => line?.["level"] === "WARN"
        )
      }
    })
  )

  it.effect("go to stdout and, as the span, to the collector, without a query, wherever Telemetry stands", () =>
    Effect.gen(function* () {
      for (const mode of ["usual", "reversed", "beside", "beside, reversed"]) {
        const collector = yield* otlpReceiver("http")
        const app = yield* start(mode, {
          OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
          OTEL_BSP_SCHEDULE_DELAY: "20"
        })
        yield* app.call("/plain/1?secret=4711")
        const line = yield* app.line("GET /plain/:id 200")
        const { bodies, logs, spans } = collector.received
        const record = yield* eventually(
          () => logs.find(({ body }) => body === "GET /plain/:id 200"),
          (record) => record !== undefined
        )
        assert.deepInclude(record?.attributes, {
          route: "/plain/:id",
          status: 200,
          request_id: String(line["request_id"])
        })
        const span = yield* eventually(
          () => spans.find(({ attributes }) => attributes["http.route"] === "/plain/:id"),
          (span) => span !== undefined
        )
        assert.strictEqual(span?.name, "GET /plain/:id")
        assert.strictEqual(span?.attributes["url.full"], `http://127.0.0.1:${app.port}/plain/1`)
        assert.isFalse(bodies.some((body) => body.includes("4711")))
        assert.strictEqual(line["trace_id"], span?.traceId, mode)
        assert.lengthOf(app.lines(), 2, mode)
      }
    })
  )

  it.effect("have the level of LOG_LEVEL in either case", () =>
    Effect.gen(function* () {
      const app = yield* start("usual", { LOG_LEVEL: "debug" })
      assert.isAbove(app.lines().length, 0)
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const quiet = yield* run("logging.ts", [], { ...workspace.env, LOG_LEVEL: "None" })
      yield* quiet.kill("SIGTERM")
      yield* quiet.exit
      assert.strictEqual(quiet.output.stdout, "")
    })
  )

  it.effect("fail the start with one line in their format given a wrong LOG_LEVEL or LOG_FORMAT", () =>
    Effect.gen(function* () {
      const workspace = yield* LocalWorkspace.LocalWorkspace
      const said = Effect.fnUntraced(function* (env: Record<string, string>) {
        const app = yield* run("logging.ts", ["beside"], { ...workspace.env, ...env })
        assert.strictEqual(yield* app.exit, 1)
        return app.output.stderr
      })
      for (const name of ["LOG_LEVEL", "LOG_FORMAT"]) {
        const [line, ...more] = linesOf(yield* said({ [name]: "loud" }))
        assert.strictEqual(line?.["level"], "FATAL")
        assert.match(String(line?.["message"]), new RegExp(`^${name} is not one of .*: loud$`))
        assert.deepStrictEqual(more, [])
      }
      assert.match(yield* said({ LOG_FORMAT: "pretty", LOG_LEVEL: "loud" }), /^LOG_LEVEL is not one of /)
    })
  )

  it.effect("are for people with LOG_FORMAT=pretty", () =>
    Effect.gen(function* () {
      const app = yield* start("usual", { LOG_FORMAT: "pretty" })
      yield* app.callAs("/wrong/1")
      yield* app.printed("caused by").pipe(Effect.race(app.printed("DatabricksError:")))
      assert.match(app.output.stdout, /^\d\d:\d\d:\d\d ERROR GET \/wrong\/:id 500 {2}ms=/m)
      assert.match(app.output.stdout, /^ {2}SELECT nope FROM nowhere WHERE id = :p_1$/m)
    })
  )

  it.effect("show control characters with LOG_FORMAT=pretty, and indent the lines of a text", () =>
    Effect.gen(function* () {
      const app = yield* start("usual", { LOG_FORMAT: "pretty" })
      yield* app.call("/forged")
      yield* app.printed("GET /forged 200")
      const { stdout } = app.output
      assert.notMatch(stdout, /(?!\n)\p{Cc}/u)
      assert.notMatch(stdout, /^ERROR of mine/m)
      assert.include(
        stdout,
        " INFO  \\x1b[2J\\x9b1A\\x0d\n  ERROR of mine  name=\\x1b[2J\\x9b1A\\x0d\\nERROR of mine request_id="
      )
      assert.include(stdout, "\n  \\x1b[2J\\x9b1A\\x0d\n  ERROR of mine\n")
    })
  )

  it.effect("have the format of the last line on stderr, of a start that fails", () =>
    Effect.gen(function* () {
      const { env } = yield* LocalWorkspace.LocalWorkspace
      const said = Effect.fnUntraced(function* (mode: string, format: string) {
        const app = yield* run("logging.ts", [mode], { ...env, LOG_FORMAT: format })
        assert.strictEqual(yield* app.exit, 1)
        assert.strictEqual(app.output.stdout, "")
        return app.output.stderr
      })
      assert.strictEqual(yield* said("fails", "pretty"), "No warehouse: set it\n")
      const [failed, ...more] = linesOf(yield* said("fails", "json"))
      const { time, ...line } = failed!
      assert.isNotNaN(Date.parse(String(time)))
      assert.deepStrictEqual([line, more], [{ level: "FATAL", message: "No warehouse: set it" }, []])
      assert.match(yield* said("dies", "pretty"), /^Error: a bug\n {4}at /)
      const [died, ...others] = linesOf(yield* said("dies", "json"))
      assert.deepInclude(died, { level: "FATAL", message: "a bug" })
      assert.match(String(died?.["cause"]), /^Error: a bug\n {4}at /)
      assert.deepStrictEqual(others, [])
    })
  )

  it.effect("are whole after an uncaught exception and after SIGTERM", () =>
    Effect.gen(function* () {
      const crashed = yield* start()
      yield* crashed.call("/crash")
      assert.strictEqual(yield* crashed.exit, 1)
      assert.include(crashed.output.stderr, "the end")
      assert.include(crashed.output.stdout, "GET /crash 200")
      const told = yield* start()
      yield* told.call("/flood/500")
      yield* told.kill("SIGTERM")
      assert.strictEqual(yield* told.exit, 0)
      assert.lengthOf(told.lines(), 503)
    })
  )

  it.effect("end no application whose output has no reader, and neither does Effect's own log", () =>
    Effect.gen(function* () {
      for (const mode of ["usual", "unlogged"]) {
        const app = yield* start(mode)
        yield* app.closeOutput
        // More than the first write fails.
        for (let i = 0; i < 3; i++) assert.strictEqual(yield* app.call("/flood/10"), "200 here")
        yield* app.kill("SIGTERM")
        assert.strictEqual(yield* app.exit, 0, mode)
      }
    })
  )

  it.effect("drop and count what a slow reader leaves, without making requests wait", () =>
    Effect.gen(function* () {
      const app = yield* start()
      yield* app.stopReading
      assert.strictEqual(yield* app.call("/flood/2000"), "200 here")
      assert.strictEqual(yield* app.call("/plain/1"), "200 here")
      yield* app.readOn
      yield* app.printed("log lines were dropped")
      yield* app.call("/plain/2")
      yield* app.line("GET /plain/:id 200")
      const messages = app.lines().map((line) => String(line["message"]))
      const count = messages.reduce((sum, text) => sum + Number(/^(\d+) log lines/.exec(text)?.[1] ?? 0), 0)
      // Of 20 MB, 8 wait. The lines of the two requests may be among the dropped.
      assert.isAbove(count, 1_000)
      assert.include([2_000, 2_001, 2_002], messages.filter((text) => text.startsWith("xxx")).length + count)
    })
  )
})
