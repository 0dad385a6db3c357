/** Creates an element with this text, which is never parsed as HTML. */
export const element = (tag, className, ...content) => {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...content)
  return made
}

/** Creates a table. */
export const tableOf = ({ columns, rows, truncated }) => {
  const head = element("tr", "", ...columns.map((name) => element("th", "", name)))
  const body = rows.map((row) => element("tr", "", ...row.map((value) => element("td", "", value ?? "–"))))
  const caption = truncated ? [element("caption", "", "These are the first rows; there are more.")] : []
  return element("table", "", ...caption, element("thead", "", head), element("tbody", "", ...body))
}

/** Calls the application. The proxy adds the headers of the signed-in user. */
export const call = async (path, body) => {
  try {
    const response = await fetch(path, {
      headers: { "content-type": "application/json" },
      ...(body && { method: "POST", body: JSON.stringify(body) })
    })
    return { ok: response.ok, body: await response.json() }
  } catch (error) {
    return { ok: false, body: { _tag: "NoAnswer", message: String(error) } }
  }
}

/** Thrown in place of the events of a request that the application refused, or of a stream that failed. */
export class Refused extends Error {}

/** Reads the server-sent events of the application: the data of each. A `body` is posted. */
export async function* events(path, { body, signal } = {}) {
  const response = await fetch(path, {
    signal,
    ...(body && { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } })
  })
  if (!response.ok) throw new Refused((await response.json()).message)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const frames = (rest + value).split("\n\n")
      rest = frames.pop()
      for (const frame of frames) {
        const field = (name) => frame.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1]
        const data = field("data")
        if (data === undefined) continue // a heartbeat
        if (field("event") === "error") throw new Refused(JSON.parse(data).error)
        yield JSON.parse(data)
      }
    }
  } finally {
    reader.cancel().catch(() => {}) // ends the request of a reader that leaves early
  }
}

/** Reads events up to the last one. Databricks Apps cuts long streams: this one is opened again after a cut. */
export async function* eventsUpTo(isLast, path) {
  for (;;) {
    try {
      for await (const event of events(path)) {
        yield event
        if (isLast(event)) return
      }
    } catch (error) {
      if (error instanceof Refused) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}

/** Functions that run before the calls of a screen. Each may return a function that runs after them. */
export const around = []

/** Makes the calls of a screen. */
export const calling = async (calls) => {
  const after = await Promise.all(around.map((before) => before()))
  await calls()
  await Promise.all(after.map((run) => run?.()))
}

/**
 * Calls this function when the form is submitted. Until then its button is disabled: the browser's own submit would load
 * the page again, and lose the input.
 */
export const onSubmit = (form, run) => {
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    void run()
  })
  form.querySelector("[type=submit]").disabled = false
}

const { body, ok } = await call("/api/whoami")
/** The e-mail address of the signed-in user. */
export const email = ok ? body.email : undefined
document.getElementById("person").append(ok ? (email ?? body.userId) : body.message)
