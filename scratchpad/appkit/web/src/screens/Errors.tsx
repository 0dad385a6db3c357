import { useAnalyticsQuery, usePluginClientConfig } from "@databricks/appkit-ui/react"
import { Failure, Panel } from "../parts.tsx"

const none = {}

const Failing = (props: { id: string; title: string; queryKey: string }) => {
  // An unknown key does not compile: this is a page of an earlier deployment.
  const { error, errorCode } = useAnalyticsQuery(props.queryKey as "broken", none)
  return (
    <Panel id={props.id} title={props.title} about={errorCode}>
      <Failure message={error} />
    </Panel>
  )
}

const Configuration = () => {
  const plugins = ["analytics", "genie", "files", "serving", "jobs", "aiSearch"]
  const config = Object.fromEntries(plugins.map((name) => [name, usePluginClientConfig(name)]))
  return (
    <Panel id="config" title="Configuration" about="What the plugins tell the page">
      <pre className="overflow-auto rounded-md bg-muted p-3 text-xs">{JSON.stringify(config, undefined, 1)}</pre>
    </Panel>
  )
}

export const Errors = () => (
  <>
    <Failing id="broken" title="A query that fails" queryKey="broken" />
    <Failing id="unknown" title="A query that does not exist" queryKey="nonexistent" />
    <Configuration />
  </>
)
