import { call, calling, element, eventsUpTo, onSubmit } from "./page.js"

const form = document.getElementById("start")
const day = form.elements.day
const article = document.getElementById("run")
const [title, route, states, message] = article.children
const table = article.querySelector("table")

const hasEnded = ({ state }) => ["TERMINATED", "SKIPPED", "INTERNAL_ERROR"].includes(state.lifeCycleState)

const hasFailed = (run) => hasEnded(run) && !["SUCCESS", "SUCCESS_WITH_FAILURES"].includes(run.state.resultState)

const wordsOf = ({ lifeCycleState, resultState }) => (resultState ? `${lifeCycleState} ${resultState}` : lifeCycleState)

const show = (run, outputs = []) => {
  article.classList.toggle("failed", hasFailed(run))
  const words = wordsOf(run.state)
  if (states.lastElementChild?.textContent !== words) states.append(element("li", "", words))
  message.textContent = run.state.message ?? ""
  table.hidden = run.tasks.length === 0
  table.tBodies[0].replaceChildren(
    ...run.tasks.map(({ runId, state, taskKey }) => {
      const { error, logs, result } = outputs.find((output) => output.runId === runId) ?? {}
      const cells = [wordsOf(state), error ?? result ?? logs ?? ""].map((text) => element("td", "", text))
      return element("tr", "", element("th", "", taskKey), ...cells)
    })
  )
}

const watch = async (runId) => {
  title.textContent = `Run ${runId}`
  route.textContent = `GET /api/runs/${runId}/states`
  states.replaceChildren()
  let run
  for await (run of eventsUpTo(hasEnded, `/api/runs/${runId}/states`)) {
    if (runId !== watched) return
    show(run)
  }
  const { body, ok } = await call(`/api/runs/${runId}/output`)
  if (ok && runId === watched) show(run, body)
}

// Requests with one key start one run: those of a double click, and one that is repeated because its answer was lost.
let key = crypto.randomUUID()
day.addEventListener("change", () => {
  key = crypto.randomUUID()
})
let watched

const start = async () => {
  const { body, ok } = await call("/api/runs", { day: day.value, key })
  if (!ok) throw new Error(body.message)
  const { runId } = body
  if (runId === watched) return
  watched = runId
  try {
    await watch(runId)
  } finally {
    if (runId === watched) {
      key = crypto.randomUUID()
      watched = undefined
    }
  }
}

onSubmit(form, () =>
  calling(() =>
    start().catch((error) => {
      article.classList.add("failed")
      message.textContent = error.message
    })
  )
)
