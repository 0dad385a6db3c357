/** The page: one screen for each hook or component of AppKit, chosen by `?screen=`. */
import { ResourceStatusIndicator, ResourceStatusProvider, useAnalyticsQuery } from "@databricks/appkit-ui/react"
import { type ComponentType, StrictMode } from "react"
import { createRoot } from "react-dom/client"
import { Charts } from "./screens/Charts.tsx"
import { Errors } from "./screens/Errors.tsx"
import { Files } from "./screens/Files.tsx"
import { Genie } from "./screens/Genie.tsx"
import { Jobs } from "./screens/Jobs.tsx"
import { Metric } from "./screens/Metric.tsx"
import { Model } from "./screens/Model.tsx"
import { Query } from "./screens/Query.tsx"
import { Search } from "./screens/Search.tsx"
import { Table } from "./screens/Table.tsx"

const screens: Readonly<Record<string, ComponentType>> = {
  query: Query,
  table: Table,
  charts: Charts,
  metric: Metric,
  genie: Genie,
  files: Files,
  model: Model,
  search: Search,
  jobs: Jobs,
  errors: Errors
}

const chosen = new URLSearchParams(location.search).get("screen") ?? "query"

const Me = () => {
  const { data } = useAnalyticsQuery("me", {})
  return (
    <p id="me" className="truncate text-sm text-muted-foreground">
      {data?.[0]?.me}
    </p>
  )
}

const Page = () => {
  const Screen = screens[chosen] ?? Query
  return (
    <div className="mx-auto flex min-h-screen max-w-6xl gap-8 p-6">
      <nav className="flex w-40 shrink-0 flex-col gap-1">
        <Me />
        <a href="/.apps/" className="mb-4 text-sm underline">
          be another user
        </a>
        {Object.keys(screens).map((name) => (
          <a
            key={name}
            href={`?screen=${name}`}
            className={`rounded-md px-3 py-1.5 text-sm capitalize hover:bg-accent ${name === chosen ? "bg-accent font-medium" : ""}`}
          >
            {name}
          </a>
        ))}
      </nav>
      <main className="flex min-w-0 flex-1 flex-col gap-4">
        <Screen />
      </main>
    </div>
  )
}

createRoot(document.getElementById("page")!).render(
  <StrictMode>
    <ResourceStatusProvider>
      <Page />
      <ResourceStatusIndicator />
    </ResourceStatusProvider>
  </StrictMode>
)
