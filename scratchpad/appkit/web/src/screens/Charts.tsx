import { ArrowClient } from "@databricks/appkit-ui/js"
import { BarChart, Button, LineChart, useChartData } from "@databricks/appkit-ui/react"
import { useState } from "react"
import { Failure, Panel } from "../parts.tsx"

const none = {}

const Readings = () => {
  // The request of the chart: equal ones are sent once.
  const { data, error } = useChartData({ queryKey: "readings", parameters: none, format: "arrow_stream" })
  const rows = data === null ? "" : "numRows" in data ? data.numRows : data.length
  return (
    <Panel id="readings" title="Readings" about={`${rows} rows of Arrow, from readings.obo.sql`}>
      <Failure message={error} />
      <LineChart
        queryKey="readings"
        parameters={none}
        format="arrow_stream"
        xKey="minute"
        yKey="celsius"
        smooth={false}
      />
    </Panel>
  )
}

/** Arrow of a route of the application's own, without a hook. */
const Own = () => {
  const [rows, setRows] = useState<number>()
  const [problem, setProblem] = useState<string | null>(null)
  const read = () =>
    ArrowClient.fetchArrow("/api/readings.arrow")
      .then((bytes) => ArrowClient.processArrowBuffer(bytes))
      .then(
        (table) => setRows(table.numRows),
        ({ message }: Error) => setProblem(message)
      )
  return (
    <Panel id="own" title="A route of this application" about={rows !== undefined && `${rows} rows of Arrow`}>
      <Failure message={problem} />
      <Button variant="outline" className="self-start" onClick={read}>
        Read
      </Button>
    </Panel>
  )
}

export const Charts = () => (
  <>
    <Readings />
    <div className="grid grid-cols-2 gap-4">
      <Panel id="regions" title="Sales by region" about="JSON, from sales_by_region.obo.sql">
        <BarChart
          queryKey="sales_by_region"
          parameters={none}
          format="json_array"
          xKey="region"
          yKey="amount"
          height={240}
        />
      </Panel>
      <Own />
    </div>
  </>
)
