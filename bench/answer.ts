/** The other end of a `Child`. */

/** Answers what `ask` asks, for as long as there is somebody to ask. */
export const answer = (reply: (message: never) => Promise<object> | object) => {
  process.on("message", async (message) => {
    // Both ends are in this folder.
    process.send!(await reply(message as never))
  })
  process.once("disconnect", end)
}

/** As if it had been told to: it may have started something. */
export const end = () => void process.kill(process.pid, "SIGTERM")
