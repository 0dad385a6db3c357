import { DataTable } from "@databricks/appkit-ui/react"
import { Panel } from "../parts.tsx"

const none = {}

/** A table that sorts, filters and has pages: of the user's rows, and of rows that the app reads for everyone. */
export const Table = () => (
  <>
    <Panel id="mine" title="All of my sales" about="my_sales.obo.sql runs as me">
      <DataTable queryKey="my_sales" parameters={none} filterColumn="product" pageSize={3} pageSizeOptions={[3, 10]} />
    </Panel>
    <Panel id="products" title="Products" about="products.sql runs as the app">
      <DataTable queryKey="products" parameters={none} />
    </Panel>
  </>
)
