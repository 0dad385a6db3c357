import { sql } from "@databricks/appkit-ui/js"
import { ToggleGroup, ToggleGroupItem, useAnalyticsQuery, useResourceStatus } from "@databricks/appkit-ui/react"
import { useState } from "react"
import { Failure, Panel, Rows } from "../parts.tsx"

const regions = ["North", "South", "East", "West"]

/** A query with parameters, as the user: each person has other rows. */
export const Query = () => {
  const [region, setRegion] = useState("")
  const { data, error } = useAnalyticsQuery("my_sales", {
    region: region === "" ? null : sql.string(region),
    atLeast: sql.int(5)
  })
  const { worst } = useResourceStatus({ kind: "warehouse" })
  return (
    <Panel
      id="query"
      title="My sales of 5 or more"
      about={worst === null ? "my_sales.obo.sql runs as me" : `The warehouse is ${worst.state}`}
    >
      <ToggleGroup type="single" variant="outline" value={region} onValueChange={setRegion}>
        {regions.map((name) => (
          <ToggleGroupItem key={name} value={name}>
            {name}
          </ToggleGroupItem>
        ))}
      </ToggleGroup>
      {data === null && <Failure message={error} />}
      <Rows
        head={["Id", "Day", "Region", "Product", "Amount"]}
        rows={(data ?? []).map((_) => [_.id, _.day, _.region, _.product, _.amount])}
      />
    </Panel>
  )
}
