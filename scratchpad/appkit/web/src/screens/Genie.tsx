import { Card, GenieChat } from "@databricks/appkit-ui/react"

/** A chat with a Genie space. Its conversation is in the page's address, and comes back when the page is loaded again. */
export const Genie = () => (
  <Card id="genie" className="h-[calc(100vh-3rem)] py-0">
    <GenieChat alias="sales" placeholder="How much did I sell in each region?" />
  </Card>
)
