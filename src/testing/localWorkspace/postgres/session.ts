/** One statement on a connection of its own: whatever the local workspace itself asks of Postgres. */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Data, Effect, Result } from "effect"
import { connect } from "node:net"

// Postgres describes a column's precision and writes every type as text only to those who ask for text, which the
// drivers do not: hence the few messages of its protocol that one statement needs, over the codec of @effect/sql-pg.

/** Where a session logs in, and as whom: the role of the caller itself, so that there is no other role to go back to. */
export interface Login {
  readonly port: number
  readonly database: string
  readonly role: string
  readonly password: string
  readonly parameters?: Readonly<Record<string, string>>
}

/** One statement with its bind parameters as text and the object identifiers of their types. */
export interface Command {
  readonly sql: string
  readonly types: ReadonlyArray<number>
  readonly values: ReadonlyArray<string | null>
  /** Zero means all. */
  readonly maxRows: number
}

/** What a statement came to. */
export interface Outcome {
  /** Undefined when the statement returns no rows at all, as DDL does. */
  readonly fields: ReadonlyArray<PgProtocol.FieldDescription> | undefined
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  readonly tag: string
}

/** What Postgres, or the lack of it, says instead. */
export class PostgresError extends Data.TaggedError("PostgresError")<{
  readonly code: string
  readonly message: string
}> {}

/** Asks for the end of a statement that may not have started yet, without giving up on hearing how it went. */
export interface Cancellation {
  readonly requested: () => boolean
  readonly request: () => void
  /** Has the one who runs the statement told when that is asked for. */
  readonly onRequest: (ask: (() => void) | undefined) => void
}

export const makeCancellation = (): Cancellation => {
  let requested = false
  let asked: (() => void) | undefined
  return {
    requested: () => requested,
    request: () => {
      requested = true
      asked?.()
    },
    onRequest: (ask) => {
      asked = ask
    }
  }
}

/** A name as an identifier of SQL. */
export const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`

const cancelAgainMillis = 20

const framed = (type: string, body: Uint8Array) => {
  const head = Buffer.alloc(5)
  head.write(type, "latin1")
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const textBind = (values: ReadonlyArray<string | null>) => {
  const parts: Array<Buffer> = []
  const int = (value: number, size: 2 | 4) => {
    const buffer = Buffer.alloc(size)
    buffer.writeIntBE(value, 0, size)
    parts.push(buffer)
  }
  parts.push(Buffer.from([0, 0]))
  int(0, 2)
  int(values.length, 2)
  for (const value of values) {
    if (value === null) {
      int(-1, 4)
    } else {
      const bytes = Buffer.from(value, "utf8")
      int(bytes.length, 4)
      parts.push(bytes)
    }
  }
  int(0, 2)
  return framed("B", Buffer.concat(parts))
}

const readText = (bytes: Uint8Array, offset: number, size: number): string | null =>
  size < 0 ? null : Buffer.from(bytes.buffer, bytes.byteOffset + offset, size).toString("utf8")

const encodeCommand = (command: Command | string): Uint8Array | undefined => {
  if (typeof command === "string") return framed("Q", Buffer.from(`${command}\0`, "utf8"))
  const parse = PgProtocol.encodeParse({ name: "", query: command.sql, parameterTypes: command.types })
  return Result.isFailure(parse)
    ? undefined
    : Buffer.concat([
        parse.success,
        textBind(command.values),
        PgProtocol.encodeDescribe({ target: "portal", name: "" }),
        PgProtocol.encodeExecute({ portal: "", maxRows: command.maxRows }),
        PgProtocol.encodeSync()
      ])
}

/**
 * Logs in, runs one statement (or a script of several without parameters) and leaves. Interruption asks Postgres to
 * stop and does not wait for it; a `Cancellation` asks and waits, so that a statement that won the race is reported as
 * finished.
 */
export const execute = (
  login: Login,
  command: Command | string,
  options?: {
    readonly cancellation?: Cancellation
    readonly onStart?: () => void
    /** Takes the rows instead of the outcome, which then has none: a result may not fit into memory. */
    readonly onRow?: (row: ReadonlyArray<string | null>, fields: ReadonlyArray<PgProtocol.FieldDescription>) => void
  }
): Effect.Effect<Outcome, PostgresError> =>
  Effect.callback<Outcome, PostgresError>((resume) => {
    const frame = encodeCommand(command)
    // In the start-up message a zero byte would begin another setting, the role for one.
    if (frame === undefined || Object.values(login.parameters ?? {}).some((value) => value.includes("\0"))) {
      return resume(Effect.fail(new PostgresError({ code: "42601", message: "The statement contains a zero byte" })))
    }
    const cancellation = options?.cancellation
    const parser = PgProtocol.makeParser<string | null>({ readField: readText, maxMessageSize: 256 * 1024 * 1024 })
    const socket = connect({ host: "127.0.0.1", port: login.port, noDelay: true })
    const rows: Array<ReadonlyArray<string | null>> = []
    let fields: ReadonlyArray<PgProtocol.FieldDescription> | undefined
    let tag = ""
    let failure: PostgresError | undefined
    let started = false
    let finished = false
    let key: { readonly pid: number; readonly secret: number } | undefined
    let again: NodeJS.Timeout | undefined

    const askToCancel = () => {
      if (key === undefined || !started || finished) return
      const side = connect({ host: "127.0.0.1", port: login.port })
      side.on("error", () => {})
      side.on("data", () => {})
      side.end(PgProtocol.encodeCancelRequest(key))
      // A request that arrives before Postgres has read the statement is forgotten by Postgres.
      again = setTimeout(askToCancel, cancelAgainMillis)
    }
    const finish = (result: Effect.Effect<Outcome, PostgresError>) => {
      if (finished) return
      finished = true
      clearTimeout(again)
      cancellation?.onRequest(undefined)
      socket.end(PgProtocol.encodeTerminate())
      resume(result)
    }
    const fail = (code: string, message: string) => finish(Effect.fail(new PostgresError({ code, message })))

    const onMessage = (message: PgProtocol.BackendMessage<string | null>) => {
      switch (message._tag) {
        case "AuthenticationCleartextPassword":
          return void socket.write(PgProtocol.encodePasswordMessage({ password: login.password }))
        case "BackendKeyData":
          key = { pid: message.pid, secret: message.secret }
          return
        case "RowDescription":
          fields = message.fields
          return
        case "DataRow":
          return options?.onRow === undefined
            ? void rows.push(message.values)
            : options.onRow(message.values, fields ?? [])
        case "CommandComplete":
          tag = message.commandTag
          return
        case "CopyInResponse":
          return fail("0A000", "COPY FROM STDIN is not supported here")
        case "ErrorResponse":
          failure = new PostgresError({
            code: message.fields.code ?? "XX000",
            message: message.fields.message ?? "unknown error"
          })
          return
        case "ReadyForQuery":
          if (started)
            return finish(failure === undefined ? Effect.succeed({ fields, rows, tag }) : Effect.fail(failure))
          if (cancellation?.requested() === true) return fail("57014", "canceled before it started")
          started = true
          options?.onStart?.()
          return void socket.write(frame)
      }
    }
    cancellation?.onRequest(askToCancel)
    socket.on("error", (error) => fail("08006", error.message))
    socket.on("close", () =>
      failure === undefined ? fail("08006", "the connection was lost") : finish(Effect.fail(failure))
    )
    socket.on("data", (chunk: Buffer) => {
      try {
        parser.pushEach(chunk, onMessage)
      } catch (error) {
        fail("08P01", String(error))
        socket.destroy()
      }
    })
    socket.on("connect", () => {
      socket.write(
        PgProtocol.encodeStartupMessage({
          user: login.role,
          database: login.database,
          application_name: "local-workspace",
          DateStyle: "ISO",
          TimeZone: "UTC",
          ...login.parameters
        })
      )
    })
    return Effect.sync(() => {
      if (started && !finished && key !== undefined) {
        const side = connect({ host: "127.0.0.1", port: login.port })
        side.on("error", () => {})
        side.end(PgProtocol.encodeCancelRequest(key))
      }
      finished = true
      clearTimeout(again)
      socket.destroy()
    })
  })
