import { element, onSubmit } from "./page.js"

const form = document.getElementById("burst")
const [button, result] = form.children

const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`

const cells = (id, numbers) =>
  document
    .getElementById(id)
    .replaceChildren(
      document.getElementById(id).firstElementChild,
      ...numbers.map((number) => element("td", "", number.toLocaleString("en")))
    )

let isRunning = false

/** Shows one reading of the pools. Every number on the screen is from it. */
const show = ({ limits, progress, service, users }) => {
  const { maxConnections, maxConnectionsService } = limits
  const both = Object.fromEntries(Object.keys(users).map((count) => [count, users[count] + service[count]]))
  const row = ({ idle, opening, total, used }, limit) => [opening, used, idle, total, limit]
  cells("users", row(users, maxConnections - maxConnectionsService))
  cells("service", row(service, maxConnectionsService))
  cells("total", row(both, maxConnections))
  const meter = document.querySelector(".meter")
  for (const count of ["used", "opening", "idle"]) meter.style.setProperty(`--${count}`, both[count] / maxConnections)
  const closed = both.evictions.toLocaleString("en")
  document.getElementById("others").textContent =
    `${both.waiting} calls wait for a connection. ${closed} idle connections were closed for other callers since the start.`
  if (isRunning && progress.answered < 500) {
    result.textContent =
      progress.verifying > 0
        ? `500 users ask. The tokens of ${progress.verifying} are being verified.`
        : `500 users ask. ${progress.answered} have their answer, ${500 - progress.answered} wait.`
  }
}

const poll = async () => {
  if (!document.hidden) {
    try {
      const response = await fetch("/demo/lakebase")
      if (response.ok) show(await response.json())
    } catch {
      // The next reading may succeed.
    }
  }
  setTimeout(poll, isRunning ? 250 : 1000)
}

onSubmit(form, async () => {
  isRunning = true
  button.disabled = true
  result.textContent = "500 users ask."
  try {
    const { failed, message, milliseconds, succeeded, users } = await (
      await fetch("/demo/burst", { method: "POST" })
    ).json()
    result.textContent =
      message ??
      `${succeeded} of ${users} saw their own orders and no other’s, ${failed} failed: ${seconds(milliseconds.all)}, of which ${seconds(milliseconds.verifying)} verified their tokens.`
  } catch (error) {
    result.textContent = String(error)
  }
  isRunning = false
  button.disabled = false
})

void poll()
