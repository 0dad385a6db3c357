import { call, calling, element, onSubmit } from "./page.js"

const kept = 50
const form = document.getElementById("order")

const lineOf = ({ amount, item, owner }) =>
  element(
    "li",
    "",
    element("span", "item", item),
    element("span", "owner", owner),
    element("span", "amount", `× ${amount}`)
  )

/** Reads the orders that one caller sees. */
const list = async (id, title, path) => {
  const { body, ok } = await call(path)
  const article = document.getElementById(id)
  article.classList.toggle("failed", !ok)
  const count = !ok ? "" : body.length < kept ? ` (${body.length})` : ` (the last ${kept})`
  article.querySelector("h2").textContent = title + count
  const lines = !ok ? [`${body._tag}: ${body.message}`] : body.length === 0 ? ["No orders yet"] : []
  article
    .querySelector("ol")
    .replaceChildren(...lines.map((line) => element("li", "none", line)), ...(ok ? body.map(lineOf) : []))
}

const read = () =>
  Promise.all([list("mine", "Your orders", "/api/orders"), list("all", "All orders, as the app", "/api/system/orders")])

// `elements.item` is a method of the collection.
const [item, amount] = form.elements

const add = async () => {
  const { body, ok } = await call("/api/orders", { item: item.value, amount: amount.valueAsNumber })
  form.querySelector(".failure").textContent = ok ? "" : `${body._tag}: ${body.message}`
  if (!ok) return
  item.value = ""
  item.focus()
}

onSubmit(form, () =>
  calling(async () => {
    await add()
    await read()
  })
)

await calling(read)
