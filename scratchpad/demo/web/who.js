import { call, calling, onSubmit } from "./page.js"

const form = document.getElementById("ask")

const ask = async (id, path) => {
  const { body } = await call(path, { greeting: form.elements.greeting.value })
  const article = document.getElementById(id)
  const row = body.rows?.[0]
  article.classList.toggle("failed", row === undefined)
  article.querySelector(".caller").textContent = row?.caller ?? body._tag
  article.querySelector(".greeting").textContent = row?.greeting ?? body.message
}

const askTwice = () => calling(() => Promise.all([ask("user", "/users/me/data"), ask("system", "/system/data")]))

onSubmit(form, askTwice)

await askTwice()
