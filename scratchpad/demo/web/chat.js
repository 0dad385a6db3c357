import { calling, element, events, onSubmit, tableOf } from "./page.js"

const form = document.getElementById("say")
const [input, send, stop] = form.elements
const shown = document.getElementById("messages")

/** The conversation so far, with whole replies only. */
const messages = []
let aborter

const note = (article, className, ...content) => article.append(element("p", className, ...content))

const columns = ["region", "seller", "amount"]

const showRows = (article, rows) =>
  article.append(
    element("div", "wide", tableOf({ columns, rows: rows.map((row) => columns.map((name) => row[name])) }))
  )

const reply = async (content) => {
  const article = element("article", "")
  const texts = []
  shown.append(element("p", "said", content), article)
  aborter = new AbortController()
  send.disabled = true
  stop.disabled = false
  const asked = [...messages, { role: "user", content }]
  let isWhole = false
  try {
    for await (const event of events("/api/chat", { body: { messages: asked }, signal: aborter.signal })) {
      if (event._tag === "Broken") throw new Error(event.message)
      if (event._tag === "Done") isWhole = true
      if (event._tag === "Called") note(article, "route", `${event.name}(${event.arguments})`)
      if (event._tag === "Rows") showRows(article, event.rows)
      if (event._tag === "Failed") note(article, "failure", event.message)
      if (event._tag === "Text") {
        if (!article.lastElementChild?.matches(".text")) note(article, "text")
        article.lastElementChild.append(event.text)
        texts.push(event.text)
      }
      article.scrollIntoView({ block: "end" })
    }
    if (!isWhole) throw new Error("The reply was cut on its way.")
    messages.splice(0, messages.length, ...asked, { role: "assistant", content: texts.join("") })
  } catch (error) {
    if (aborter.signal.aborted) {
      note(article, "about", "You stopped the reply.")
    } else {
      article.classList.add("failed")
      note(article, "failure", error.message)
    }
  }
  send.disabled = false
  stop.disabled = true
}

onSubmit(form, () => {
  if (send.disabled) return
  const content = input.value
  input.value = ""
  void calling(() => reply(content))
})

stop.addEventListener("click", () => aborter.abort())
