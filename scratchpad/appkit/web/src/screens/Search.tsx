import { type AiSearchResponse, useAiSearchQuery } from "@databricks/appkit-ui/react/beta"
import { Button, Input } from "@databricks/appkit-ui/react"
import { type FormEvent, useState } from "react"
import { Failure, Panel, Rows } from "../parts.tsx"

type Article = { id: number; title: string; body: string }

/** A search by text. The hook reads the first page; the next ones are a request by hand. */
export const Search = () => {
  const { alias, data, error, search } = useAiSearchQuery<Article>()
  const [more, setMore] = useState<ReadonlyArray<AiSearchResponse<Article>>>([])
  const pages = data === null ? [] : [data, ...more]
  const pageToken = pages.at(-1)?.nextPageToken
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    setMore([])
    void search({ queryText: String(new FormData(event.currentTarget).get("text")) })
  }
  const next = async () => {
    const response = await fetch(`/api/ai-search/${alias}/next-page`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ pageToken })
    })
    if (response.ok) setMore([...more, await response.json()])
  }
  return (
    <Panel id="search" title="Articles" about={data !== null && `${data.queryType}, ${data.queryTimeMs} ms`}>
      <form onSubmit={submit} className="flex gap-2">
        <Input name="text" aria-label="Text" placeholder="tea" required />
        <Button>Search</Button>
      </form>
      <Failure message={error} />
      <Rows
        head={["Id", "Title", "Text"]}
        rows={pages.flatMap(({ results }) => results.map(({ data: { body, id, title } }) => [id, title, body]))}
      />
      {pageToken !== null && pageToken !== undefined && (
        <Button variant="outline" className="self-start" onClick={next}>
          More
        </Button>
      )}
    </Panel>
  )
}
