import { call, calling, element, events, eventsUpTo, onSubmit, Refused, tableOf } from "./page.js"

const answers = document.getElementById("answers")
const suggestions = document.getElementById("suggestions")
const form = document.getElementById("question")
const [input, button, again] = form.elements
const first = [...suggestions.children].map(({ textContent }) => textContent)

let conversationId

const isLast = ({ _tag }) => _tag !== "Started" && _tag !== "Progress"

/** The events of a question, which is asked once: after a cut they go on by the ids of the message. */
async function* asking(body) {
  let started
  try {
    for await (const event of events("/api/genie/questions", { body })) {
      started ??= event
      yield event
      if (isLast(event)) return
    }
  } catch (error) {
    if (error instanceof Refused || started === undefined) throw error
  }
  yield* eventsUpTo(isLast, `/api/genie/${started.conversationId}/${started.messageId}`)
}

const suggest = (questions) =>
  suggestions.replaceChildren(
    ...questions.map((text) => Object.assign(element("button", "plain", text), { type: "button" }))
  )

const showAnswer = async (article, { attachments, conversationId, messageId }) => {
  for (const { attachmentId, query, text } of attachments) {
    if (text) article.append(element("p", "text", text))
    if (!query) continue
    article.append(element("pre", "", query.sql))
    const { body, ok } = await call(`/api/genie/${conversationId}/${messageId}/${attachmentId}`)
    article.append(ok ? element("div", "wide", tableOf(body)) : element("p", "failure", body.message))
  }
  suggest(attachments.flatMap(({ suggestedQuestions }) => suggestedQuestions ?? []))
}

const ask = async (question) => {
  const status = element("p", "route", "…")
  const article = element("article", "", element("h2", "", question), status)
  answers.append(article)
  suggestions.replaceChildren()
  try {
    for await (const event of asking({ question, ...(conversationId && { conversationId }) })) {
      if (event._tag === "Started") conversationId = event.conversationId
      if (event._tag === "Progress") status.textContent = event.status
      if (isLast(event)) status.textContent = event.message.status
      if (event._tag === "Completed") await showAnswer(article, event.message)
      if (event._tag === "Failed") throw new Error(event.error.message)
    }
  } catch (error) {
    article.classList.add("failed")
    article.append(element("p", "failure", error.message))
    suggest(first)
  }
  again.hidden = conversationId === undefined
  article.scrollIntoView({ block: "nearest" })
}

const submit = (question) =>
  calling(async () => {
    button.disabled = true
    await ask(question)
    button.disabled = false
  })

onSubmit(form, () => {
  const question = input.value
  input.value = ""
  if (!button.disabled) void submit(question)
})

suggestions.addEventListener("click", ({ target }) => {
  if (target.matches("button") && !button.disabled) void submit(target.textContent)
})

again.addEventListener("click", () => {
  conversationId = undefined
  again.hidden = true
  answers.replaceChildren()
  suggest(first)
})

suggest(first)
