import { element } from "./page.js"

const field = (label, attributes) => Object.assign(element("input"), attributes, { ariaLabel: label, required: true })

const call = async (path, headers, order) => {
  try {
    const response = await fetch(path, {
      headers: { "content-type": "application/json", ...headers },
      ...(order && { method: "POST", body: JSON.stringify(order) })
    })
    return { ok: response.ok, body: await response.json() }
  } catch (error) {
    return { ok: false, body: { _tag: "NoAnswer", message: String(error) } }
  }
}

const lineOf = ({ amount, item, owner }, withOwner) => {
  const line = element("li", "", element("span", "item", item), element("span", "amount", `× ${amount}`))
  if (withOwner) line.append(element("span", "owner", owner))
  return line
}

/** The orders that one caller sees, read anew by `refresh`. */
const listOf = (title, path, headers, withOwner) => {
  const count = element("span", "count")
  const lines = element("ol", withOwner ? "orders all" : "orders")
  const article = element(
    "article",
    withOwner ? "service" : "",
    element("h3", "", title, " ", count),
    element("p", "route", `GET ${path}`),
    lines
  )
  const refresh = async () => {
    const { body, ok } = await call(path, headers)
    article.classList.toggle("failed", !ok)
    count.textContent = ok ? String(body.length) : ""
    lines.replaceChildren(
      ...(!ok ? [element("li", "none", `${body._tag}: ${body.message}`)] : []),
      ...(ok && body.length === 0 ? [element("li", "none", "No orders yet")] : []),
      ...(ok ? body.map((order) => lineOf(order, withOwner)) : [])
    )
  }
  return { article, refresh }
}

const formOf = (headers, done) => {
  const item = field("Item", { maxLength: 200, placeholder: "Item", autocomplete: "off" })
  const amount = field("Amount", { type: "number", min: 1, max: 2147483647, step: 1, value: 1 })
  const failure = element("p", "failure")
  failure.role = "alert"
  const form = element("form", "order", item, amount, element("button", "", "Add order"), failure)
  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    const { body, ok } = await call("/api/orders", headers, { item: item.value, amount: amount.valueAsNumber })
    failure.textContent = ok ? "" : `${body._tag}: ${body.message}`
    if (!ok) return
    item.value = ""
    item.focus()
    await done()
  })
  return form
}

/** Shows the orders of each of these people beside each other, and those of everybody below. */
export const open = async (people) => {
  const own = people.map(({ headers, name }) => ({ headers, ...listOf(name, "/api/orders", headers, false) }))
  const all = listOf("The service principal", "/api/system/orders", {}, true)
  const refresh = async () => {
    await Promise.all([...own, all].map((_) => _.refresh()))
    document.dispatchEvent(new Event("answered"))
  }
  for (const { article, headers } of own) article.append(formOf(headers, refresh))
  const section = element(
    "section",
    "desk",
    element("h2", "", "One table, and what each of them sees of it"),
    element(
      "p",
      "about",
      "One query in Lakebase, each time on a connection of the caller’s own. Row-level security shows people their own rows; the service principal owns the table and sees them all."
    ),
    element("div", "answers", ...own.map((_) => _.article)),
    all.article
  )
  document.querySelector("main > .answers").after(section)
  await refresh()
  return section
}
