/** Headers that go with a user's calls; the Databricks Apps proxy adds them where there is one. */
export const identity = { headers: {} }

/** An element whose text is text, whatever it holds. */
export const element = (tag, className, ...content) => {
  const made = document.createElement(tag)
  if (className) made.className = className
  made.append(...content)
  return made
}

const form = document.getElementById("ask")

const call = async (path, headers) => {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ greeting: form.elements.greeting.value })
    })
    return { status: response.status, body: await response.json() }
  } catch (error) {
    return { status: 0, body: { _tag: "NoAnswer", message: String(error) } }
  }
}

const show = (id, { status, body }) => {
  const article = document.getElementById(id)
  const row = body.rows?.[0]
  article.classList.toggle("failed", row === undefined)
  article.querySelector(".caller").textContent = row?.caller ?? body._tag
  article.querySelector(".greeting").textContent = row?.greeting ?? body.message
  article.querySelector("pre").textContent = `${status}\n${JSON.stringify(body, null, 2)}`
}

export const ask = async () => {
  const [user, system] = await Promise.all([call("/users/me/data", identity.headers), call("/system/data", {})])
  show("user", user)
  show("system", system)
  document.dispatchEvent(new Event("answered"))
}

form.addEventListener("submit", (event) => {
  event.preventDefault()
  void ask()
})
