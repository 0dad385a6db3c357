/** Runs one statement on its own connection to Postgres, for the local workspace itself. */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Data, Effect, Result } from "effect"
import { connect } from "node:net"

// The text format has every type as text and the precision of columns. Drivers request the binary format. Hence this
// module sends the messages of one statement itself, with the codec of @effect/sql-pg.

/** The login of a session. Its role is the caller's own, so that RESET ROLE leads to no other. */
export interface Login {
  readonly port: number
  readonly database: string
  readonly role: string
  readonly password: string
  readonly parameters?: Readonly<Record<string, string>>
}

/** One statement with its bound parameters as text, and the object identifiers of their types. */
export interface Command {
  readonly sql: string
  readonly types: ReadonlyArray<number>
  readonly values: ReadonlyArray<string | null>
  /** The most rows; 0 is unlimited. */
  readonly maxRows: number
  /** Whether to ask for the fields only, and run nothing. */
  readonly describes?: boolean
}

/** The result of a statement. */
export interface Outcome {
  /** `undefined` if the statement returns no rows, as DDL does. */
  readonly fields: ReadonlyArray<PgProtocol.FieldDescription> | undefined
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>
  readonly tag: string
}

/** An error of Postgres, or of the connection to it. */
export class PostgresError extends Data.TaggedError("PostgresError")<{
  readonly code: string
  readonly message: string
  /** The character of the statement at which the error is, from 1. */
  readonly position?: number
}> {}

/** Cancels a statement, even before it starts, and still waits for its result. */
export interface Cancellation {
  readonly requested: () => boolean
  readonly request: () => void
  /** Sets the function that is called on request. */
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

/** Quotes a name as an identifier of SQL. */
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
  if (Result.isFailure(parse)) return undefined
  return command.describes === true
    ? Buffer.concat([
        parse.success,
        PgProtocol.encodeDescribe({ target: "statement", name: "" }),
        PgProtocol.encodeSync()
      ])
    : Buffer.concat([
        parse.success,
        textBind(command.values),
        PgProtocol.encodeDescribe({ target: "portal", name: "" }),
        PgProtocol.encodeExecute({ portal: "", maxRows: command.maxRows }),
        PgProtocol.encodeSync()
      ])
}

/**
 * Logs in, runs one statement (or a script without parameters) and disconnects. Interruption asks Postgres to cancel, and
 * does not wait. A `Cancellation` waits, so that a statement that finished first is reported as finished.
 */
export const execute = (
  login: Login,
  command: Command | string,
  options?: {
    readonly cancellation?: Cancellation
    readonly onStart?: () => void
    /** Receives the rows, which the outcome then omits, because a result may not fit into memory. */
    readonly onRow?: (row: ReadonlyArray<string | null>, fields: ReadonlyArray<PgProtocol.FieldDescription>) => void
  }
): Effect.Effect<Outcome, PostgresError> =>
  Effect.callback<Outcome, PostgresError>((resume) => {
    const frame = encodeCommand(command)
    // In the start-up message a zero byte would begin another setting, such as the role.
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
      // Postgres ignores a request that arrives before it has read the statement.
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
            message: message.fields.message ?? "unknown error",
            ...(message.fields.position !== undefined && { position: Number(message.fields.position) })
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
