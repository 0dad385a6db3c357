/**
 * The driver calls a connection closed once it has said goodbye, while the server counts it until its process has ended.
 * A budget counts as the server does. Can go when this fails: driver.upstream.test.ts, "closes a connection before …".
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
