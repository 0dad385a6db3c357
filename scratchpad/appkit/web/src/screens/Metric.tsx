import { formatLabel, formatValue } from "@databricks/appkit-ui/js"
import { useMetricView } from "@databricks/appkit-ui/react"
import { Failure, Panel, Rows } from "../parts.tsx"

const columns = ["region", "orders", "revenue"] as const

/** Measures of a metric view, with the labels and formats of its definition. */
export const Metric = () => {
  const { data, error, metadata } = useMetricView("sales", {
    measures: ["revenue", "orders"],
    dimensions: ["region"],
    filter: { member: "region", operator: "notEquals", values: ["South"] },
    orderBy: [{ field: "revenue", direction: "DESC" }]
  })
  return (
    <Panel id="metric" title="Sales by region, without the South" about={metadata?.["revenue"]?.description}>
      {data === null && <Failure message={error} />}
      <Rows
        head={columns.map((name) => formatLabel(name, metadata?.[name]))}
        rows={(data ?? []).map((row) => columns.map((name) => formatValue(row[name], metadata?.[name]?.format)))}
      />
    </Panel>
  )
}
