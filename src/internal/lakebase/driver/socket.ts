/**
 * The driver calls a connection closed once it has said goodbye; the server counts it until its process has ended, and a
 * budget counts as the server does. Goes when "calls a connection closed …" fails in driver.upstream.test.ts.
 */
import { Effect } from "effect"
import * as Net from "node:net"

export const connect = (host: string, port: number) => Net.connect({ host, port, noDelay: true, keepAlive: true })

/** Waits until the server has closed its end, which it does when its process ends; at most 2 s. */
export const closed = (socket: Net.Socket) =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    const giveUp = setTimeout(() => socket.destroy(), 2000)
    socket.once("close", () => {
      clearTimeout(giveUp)
      resume(Effect.void)
    })
    // Nobody reads what the server still has to say, and only what is read ends.
    socket.on("error", () => {}).resume()
  })
