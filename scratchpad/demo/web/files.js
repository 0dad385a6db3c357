import { call, calling, element, onSubmit } from "./page.js"

const form = document.getElementById("upload")
const [input, button] = form.elements
const progress = form.querySelector("progress")
const rows = document.querySelector(".files tbody")

const fail = (message) => {
  form.querySelector(".failure").textContent = message
}

const pathOf = (name) => `/api/files/${encodeURIComponent(name)}`

const units = ["bytes", "kB", "MB", "GB"]
const sizeOf = (size, unit = 0) =>
  size < 1000 || unit === 3 ? `${+size.toFixed(1)} ${units[unit]}` : sizeOf(size / 1000, unit + 1)

const rowOf = ({ lastModified, name, size }) => {
  const link = Object.assign(element("a", "", name), { href: pathOf(name), download: name })
  const remove = Object.assign(element("button", "plain", "Remove"), { type: "button", ariaLabel: `Remove ${name}` })
  remove.addEventListener("click", () =>
    calling(async () => {
      const response = await fetch(pathOf(name), { method: "DELETE" })
      fail(response.ok ? "" : (await response.json()).message)
      await list()
    })
  )
  return element(
    "tr",
    "",
    element("td", "", link),
    element("td", "", sizeOf(size)),
    element("td", "", new Date(lastModified).toLocaleString()),
    element("td", "", remove)
  )
}

const list = async () => {
  const { body, ok } = await call("/api/files")
  if (!ok) return fail(body.message)
  rows.replaceChildren(
    ...body.filter(({ isDirectory }) => !isDirectory).map(rowOf),
    ...(body.length === 0 ? [element("tr", "none", element("td", "", "No files yet"))] : [])
  )
}

const sentenceOf = ({ _tag, message }, name) =>
  _tag === "FileExistsError" ? `You have a file ${name} already. Remove it first, or rename the new one.` : message

/** Sends a file. `fetch` does not tell how much of a body it has sent. */
const send = (file) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest()
    request.open("PUT", pathOf(file.name))
    request.setRequestHeader("content-type", "application/octet-stream")
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      progress.value = loaded / total
    })
    request.addEventListener("error", () => resolve("The connection was lost, and nothing was stored"))
    request.addEventListener("load", () =>
      resolve(request.status < 300 ? "" : sentenceOf(JSON.parse(request.responseText), file.name))
    )
    request.send(file)
  })

onSubmit(form, () =>
  calling(async () => {
    button.disabled = true
    progress.value = 0
    progress.hidden = false
    const failure = await send(input.files[0])
    fail(failure)
    if (failure === "") form.reset()
    progress.hidden = true
    button.disabled = false
    await list()
  })
)

await calling(list)
