/**
 * Waits until the server has ended a session. The driver reports a connection as closed once it has sent Terminate, but
 * the server counts it until its process ends. Remove when "calls a connection closed …" fails in
 * driver.upstream.test.ts.
 */
import { Effect } from "effect"
import * as Net from "node:net"

export const connect = (host: string, port: number) => Net.connect({ host, port, noDelay: true, keepAlive: true })

/** Waits until the server has closed its end, when its process ends; at most 2 seconds. */
export const closed = (socket: Net.Socket) =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    const giveUp = setTimeout(() => socket.destroy(), 2000)
    socket.once("close", () => {
      clearTimeout(giveUp)
      resume(Effect.void)
    })
    // Reads and drops the rest, because only a socket that is read to its end closes.
    socket.on("error", () => {}).resume()
  })
