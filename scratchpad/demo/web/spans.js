import { around, element } from "../page.js"

const rows = element("tbody")
const heads = ["Spans of the last calls", "run as", "ms"].map((head) => element("th", "", head))
const table = element("table", "spans", element("thead", "", element("tr", "", ...heads)), rows)

const read = async () => (await fetch("/demo/spans")).json()

/** The spans of traces that began after these, once the last span of each has ended. */
const since = async (seen, attempts = 10) => {
  const spans = (await read()).filter(({ trace }) => !seen.has(trace))
  const ids = new Set(spans.map(({ id }) => id))
  if (attempts === 0 || spans.every(({ parent }) => parent === null || ids.has(parent))) return spans
  await new Promise((resolve) => setTimeout(resolve, 50))
  return since(seen, attempts - 1)
}

/** Text that may break after a slash or a dot. */
const breakable = (text) => text.split(/(?<=[/.])/).flatMap((part) => [part, element("wbr")])

const rowOf = ({ attributes, caller, failed, milliseconds, name }, depth) => {
  const title =
    attributes["operation.name"] ??
    (attributes["url.path"] ? `${attributes["http.request.method"]} ${attributes["url.path"]}` : name)
  const context = attributes["execution.context"]
  const who = element("td", "")
  if (context) who.append(element("span", `badge ${context}`, caller ?? attributes["caller.id"]))
  if (attributes["execution.obo_dev_fallback"]) who.append(" in development, without a user")
  const row = element(
    "tr",
    failed ? "failed" : "",
    element("td", "name", ...breakable(title)),
    who,
    element("td", "", milliseconds.toFixed(1))
  )
  row.style.setProperty("--depth", depth)
  return row
}

const tree = (spans) => {
  const ids = new Set(spans.map(({ id }) => id))
  // The list begins with the span that ended last.
  const below = (parent) =>
    spans.filter((span) => (parent === null ? !ids.has(span.parent) : span.parent === parent)).toReversed()
  const walk = (parent, depth) => below(parent).flatMap((span) => [rowOf(span, depth), ...walk(span.id, depth + 1)])
  return walk(null, 0)
}

around.push(async () => {
  const seen = new Set((await read()).map(({ trace }) => trace))
  return async () => {
    const spans = await since(seen)
    if (!table.isConnected) document.querySelector("main").append(table)
    rows.replaceChildren(...tree(spans))
  }
})
