import * as Caller from "../../Caller.ts"

/**
 * Returns the key of connections, passwords and transactions: the caller's key and Postgres role. A connection keeps
 * the role of its login, even if the person is renamed. Headers cannot contain the separator.
 */
export const keyOf = (caller: Caller.Caller): string => `${Caller.key(caller)}\n${caller.userName}`
