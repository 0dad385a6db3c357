/** The other end of a `Child`. */

/** Answers the messages of `ask` until the parent process disconnects. */
export const answer = (reply: (message: never) => Promise<object> | object) => {
  process.on("message", async (message) => {
    // Both ends are in this folder.
    process.send!(await reply(message as never))
  })
  process.once("disconnect", end)
}

/** As if it had been told to: it may have started something. */
export const end = () => void process.kill(process.pid, "SIGTERM")
