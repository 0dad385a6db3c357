import { open } from "../desk.js"
import { ask, element, identity } from "../page.js"
import { section as load } from "./load.js"

const main = document.querySelector("main")
const form = document.getElementById("ask")

// Who to be.
const known = await (await fetch("/demo/identities")).json()
const people = [...known, { name: "nobody", headers: {} }]
const chooser = element("fieldset", "people", element("legend", "", "Ask as"))
people.forEach(({ name, headers }, index) => {
  const radio = element("input")
  Object.assign(radio, { type: "radio", name: "person", value: name, checked: index === 0 })
  radio.addEventListener("change", () => {
    identity.headers = headers
    void ask()
  })
  chooser.append(element("label", "", radio, element("span", "", name)))
})
identity.headers = people[0].headers
form.before(chooser)

// What was traced.
const rows = element("tbody")
const heads = ["Span", "Runs as", "Caller", "Time", "Further attributes"].map((_) =>
  element("th", _ === "Time" ? "time" : "", _)
)
const table = element("table", "", element("thead", "", element("tr", "", ...heads)), rows)
const section = element(
  "section",
  "spans",
  element("h2", "", "Spans of the last calls"),
  element("div", "scroll", table)
)
main.querySelector("footer").before(section)

const own = ["operation.name", "execution.context", "caller.id", "http.request.method", "http.route", "url.path"]
const boring = /^(url\.|server\.|client\.|user_agent\.|http\.request\.|http\.route)/

const rowOf = ({ attributes, failed, milliseconds, name }, depth) => {
  const title =
    attributes["operation.name"] ??
    (attributes["url.path"] ? `${attributes["http.request.method"]} ${attributes["url.path"]}` : name)
  const first = element("td", "name", element("strong", "", title))
  if (title !== name && attributes["operation.name"]) first.append(element("small", "", name))
  const context = attributes["execution.context"]
  const rest = element("dl")
  for (const [key, value] of Object.entries(attributes)) {
    if (own.includes(key) || boring.test(key)) continue
    rest.append(
      element(
        "div",
        key === "execution.obo_dev_fallback" ? "warn" : "",
        element("dt", "", key),
        element("dd", "", value)
      )
    )
  }
  const cells = [
    first,
    element("td", "", ...(context ? [element("span", `badge ${context}`, context)] : [])),
    element("td", "id", ...(attributes["caller.id"] ? [attributes["caller.id"]] : [])),
    element("td", "time", `${milliseconds.toFixed(1)} ms`),
    element("td", "", rest)
  ]
  const row = element("tr", [depth === 0 ? "first" : "", failed ? "failed" : ""].join(" "), ...cells)
  row.style.setProperty("--depth", depth)
  return row
}

const render = (spans) => {
  const known = new Set(spans.map(({ id }) => id))
  const below = (parent) => spans.filter((span) => (parent === null ? !known.has(span.parent) : span.parent === parent))
  const tree = (parent, depth) => below(parent).flatMap((span) => [rowOf(span, depth), ...tree(span.id, depth + 1)])
  rows.replaceChildren(...tree(null, 0))
}

document.addEventListener("answered", async () => render(await (await fetch("/demo/spans")).json()))

await ask()
;(await open(known)).after(load)
