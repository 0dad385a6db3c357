import { element } from "../page.js"

const figure = (label, hint) => {
  const value = element("dd", "value", "–")
  const box = element("div", "", element("dt", "", label), value, element("dd", "hint", hint))
  return { box, show: (text) => void (value.textContent = text) }
}

const bar = (label) => {
  const meter = element("div", "meter", element("i", "used"), element("i", "idle"))
  const text = element("span", "text")
  const row = element("div", "bar", element("span", "label", label), meter, text)
  const show = (used, idle, of) => {
    meter.style.setProperty("--used", used / of)
    meter.style.setProperty("--idle", idle / of)
    text.textContent = `${used} in use, ${idle} idle, of ${of}`
  }
  return { row, show }
}

const backends = figure("Backends", "in pg_stat_activity")
const budget = figure("Budget", "for the whole app")
const waiting = figure("Waiting", "callers without a connection")
const evictions = figure("Evictions", "idle connections that gave way")
const users = bar("Users")
const service = bar("Service")
const button = element("button", "", "500 users")
button.type = "button"
const result = element("p", "result", "Each asks as themselves, all at once, on a connection of their own.")
result.role = "status"

export const section = element(
  "section",
  "load",
  element("h2", "", "Everybody under one budget"),
  element(
    "article",
    "",
    element("dl", "figures", budget.box, backends.box, waiting.box, evictions.box),
    users.row,
    service.row,
    element("div", "burst", button, result)
  )
)

const show = (now) => {
  const { maxConnections, maxConnectionsService } = now.limits
  budget.show(maxConnections)
  backends.show(now.backends)
  waiting.show(now.users.waiting + now.service.waiting)
  evictions.show((now.users.evictions + now.service.evictions).toLocaleString("en"))
  users.show(now.users.total - now.users.idle, now.users.idle, maxConnections - maxConnectionsService)
  service.show(now.service.total - now.service.idle, now.service.idle, maxConnectionsService)
}

let isRunning = false

const poll = async () => {
  if (!document.hidden) {
    try {
      const response = await fetch("/demo/lakebase")
      if (response.ok) show(await response.json())
    } catch {
      // The next one may be answered.
    }
  }
  setTimeout(poll, isRunning ? 250 : 1000)
}

button.addEventListener("click", async () => {
  isRunning = true
  button.disabled = true
  result.textContent = "500 users are asking …"
  try {
    const { failed, message, milliseconds, succeeded } = await (await fetch("/demo/burst", { method: "POST" })).json()
    result.textContent =
      message ??
      `${succeeded} of them saw their own rows and nobody else’s, ${failed} failed; ${(milliseconds / 1000).toFixed(1)} s.`
  } catch (error) {
    result.textContent = String(error)
  }
  isRunning = false
  button.disabled = false
})

void poll()
