/**
 * Fails a COPY from or to the client and keeps the connection, which the driver would end and report as lost. Remove
 * when "ends the connection at COPY …" fails in driver.upstream.test.ts.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { internals, type Message } from "./messages.ts"

/** Responds to a COPY: the driver sees an error in place of the server's messages until the statement has ended. */
export const refuse = (session: PgConnection.PgConnection) => {
  const { parser, socket } = internals(session).session
  const { pushEach } = parser
  let isCopying = false
  parser.pushEach = (chunk, onMessage) =>
    pushEach(chunk, (message) => {
      if (isCopying && message._tag !== "ReadyForQuery") return
      isCopying = message._tag === "CopyInResponse" || message._tag === "CopyOutResponse"
      if (message._tag === "CopyInResponse") socket.write(giveUp)
      onMessage(isCopying ? refused : message)
    })
}

const refused: Message = {
  _tag: "ErrorResponse",
  fields: {
    severity: "ERROR",
    // 0A000 would mean a stale plan to the driver, which would run the statement again.
    code: "54000",
    message: "COPY from and to the client is not supported: use INSERT and SELECT, or pg with Lakebase.pgConfig"
  } satisfies PgProtocol.ErrorFields
}

// CopyFail without a reason, and Sync, because the server has ignored the statement's own Sync.
const giveUp = Uint8Array.of(0x66, 0, 0, 0, 5, 0, 0x53, 0, 0, 0, 4)
