import { connectSSE } from "@databricks/appkit-ui/js"
import { Badge, Button, Input } from "@databricks/appkit-ui/react"
import { useState } from "react"
import { Failure, Panel } from "../parts.tsx"

type Event = { status: string; run: { run_id?: string }; error?: string }

/** A job: there is no hook for it, so that its stream of states is read by hand. */
export const Jobs = () => {
  const [day, setDay] = useState("2026-10-01")
  const [events, setEvents] = useState<ReadonlyArray<Event>>([])
  const [last, setLast] = useState<string>()
  const [problem, setProblem] = useState<string | null>(null)
  const run = () => {
    setEvents([])
    setProblem(null)
    void connectSSE({
      // With its id a request that is repeated, because its connection was cut, starts no second run.
      url: `/api/jobs/report/run?stream=true&requestId=${crypto.randomUUID()}`,
      payload: { params: { day } },
      onMessage: async ({ data }) => {
        const event: Event = JSON.parse(data)
        if (event.error === undefined) setEvents((before) => [...before, event])
        else setProblem(event.error)
      },
      onError: (error) => setProblem(String(error))
    })
  }
  const status = async () => {
    const response = await fetch("/api/jobs/report/status")
    const body: { status: string | null; error?: string } = await response.json()
    setLast(response.ok ? String(body.status) : body.error)
  }
  return (
    <Panel id="job" title="A report" about="A job runs as the app, when its policy allows it">
      <div className="flex gap-2">
        <Input aria-label="Day" value={day} onChange={({ target }) => setDay(target.value)} />
        <Button onClick={run}>Run</Button>
        <Button variant="outline" onClick={status}>
          Last status
        </Button>
      </div>
      <Failure message={problem} />
      <div id="states" className="flex flex-wrap gap-2">
        {events.map((event, index) => (
          <Badge key={index} variant="secondary">
            {event.status}
          </Badge>
        ))}
      </div>
      <p className="text-sm text-muted-foreground">{events.at(-1)?.run.run_id}</p>
      {last !== undefined && <p id="last">The last run: {last}</p>}
    </Panel>
  )
}
