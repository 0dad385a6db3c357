/**
 * The driver keeps to itself what the server says: whether a transaction is open, for want of which its pool lends a
 * connection in the middle of one, and which types a result has. Goes when "lends a connection …" fails in
 * driver.upstream.test.ts, and test/types/driver.ts does not compile.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { Predicate } from "effect"

/** Looks at every message of this session before the driver does. */
export const watch = (session: PgConnection.PgConnection, look: (message: Message) => void) => {
  const { parser } = internals(session)
  const { pushEach } = parser
  parser.pushEach = (chunk, onMessage) =>
    pushEach(chunk, (message) => {
      look(message)
      onMessage(message)
    })
}

type Message = PgProtocol.BackendMessage<unknown>

interface Parser {
  pushEach: PgProtocol.Parser<unknown>["pushEach"]
}

// The driver's registry has no place for types that nobody knows in advance, and its parser is not in its interface.
const internals = (session: PgConnection.PgConnection): { readonly parser: Parser } => {
  const inner = Predicate.hasProperty(session, "session") ? session.session : undefined
  if (Predicate.hasProperty(inner, "parser") && Predicate.hasProperty(inner.parser, "pushEach")) {
    return inner as { readonly parser: Parser }
  }
  throw new Error("This version of @effect/sql-pg keeps its parser elsewhere")
}
