import {
  Button,
  DirectoryList,
  FileBreadcrumb,
  FilePreviewPanel,
  type FilePreview,
  NewFolderInput,
  type DirectoryEntry
} from "@databricks/appkit-ui/react"
import { type ChangeEvent, useEffect, useState } from "react"
import { Failure } from "../parts.tsx"

/** The address of an action on a path of the volume. */
const url = (action: string, path: string) => `/api/files/documents${action}?path=${encodeURIComponent(path)}`

/** A request, whose failure has the server's sentence. */
const call = async <A,>(address: string, init?: RequestInit): Promise<A> => {
  const response = await fetch(address, init)
  const body = await response.json()
  if (!response.ok) throw new Error(body.error)
  return body
}

/** The volume of the application, as the user. The components of AppKit show; the requests are those of this page. */
export const Files = () => {
  const [segments, setSegments] = useState<ReadonlyArray<string>>([])
  const [entries, setEntries] = useState<Array<DirectoryEntry>>([])
  const [selected, setSelected] = useState<string | null>(null)
  const [preview, setPreview] = useState<FilePreview | null>(null)
  const [folder, setFolder] = useState("")
  const [isBusy, setIsBusy] = useState(false)
  const [problem, setProblem] = useState<string | null>(null)

  const directory = segments.join("/")
  const pathOf = (name: string) => [...segments, name].join("/")

  const busy = (work: Promise<unknown>) => {
    setIsBusy(true)
    setProblem(null)
    return work.catch(({ message }: Error) => setProblem(message)).finally(() => setIsBusy(false))
  }
  const list = () => busy(call<Array<DirectoryEntry>>(url("/list", directory)).then(setEntries))
  const change = (address: string, init: RequestInit) => busy(call(address, init)).then(list)

  useEffect(() => {
    setSelected(null)
    void list()
  }, [directory])

  const open = (name: string) => {
    setSelected(pathOf(name))
    setPreview(null)
    return busy(call<FilePreview>(url("/preview", pathOf(name))).then(setPreview))
  }
  const upload = ({ target }: ChangeEvent<HTMLInputElement>) => {
    const file = target.files?.[0]
    if (file === undefined) return
    void change(url("/upload", pathOf(file.name)), { method: "POST", body: file }).then(() => (target.value = ""))
  }
  const makeFolder = () => {
    setFolder("")
    return change(url("/mkdir", ""), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ path: pathOf(folder) })
    })
  }
  const remove = (path: string) => {
    setSelected(null)
    return change(url("", path), { method: "DELETE" })
  }

  return (
    <>
      <div className="flex items-center justify-between">
        <FileBreadcrumb
          rootLabel="documents"
          segments={[...segments]}
          onNavigateToRoot={() => setSegments([])}
          onNavigateToSegment={(index) => setSegments(segments.slice(0, index + 1))}
        />
        <Button asChild variant="outline">
          <label>
            {isBusy ? "Working …" : "Upload"}
            <input type="file" className="sr-only" onChange={upload} disabled={isBusy} />
          </label>
        </Button>
      </div>
      <Failure message={problem} />
      <div className="grid grid-cols-2 items-start gap-4">
        <DirectoryList
          entries={entries}
          isAtRoot={segments.length === 0}
          hasCurrentPath
          selectedPath={selected}
          resolveEntryPath={({ name = "" }) => pathOf(name)}
          onNavigateToParent={() => setSegments(segments.slice(0, -1))}
          onEntryClick={({ is_directory, name = "" }) =>
            is_directory ? setSegments([...segments, name]) : void open(name)
          }
          headerContent={
            <NewFolderInput
              value={folder}
              onChange={setFolder}
              onCreate={makeFolder}
              onCancel={() => setFolder("")}
              creating={isBusy}
            />
          }
        />
        <FilePreviewPanel
          selectedFile={selected}
          preview={preview}
          previewLoading={isBusy}
          imagePreviewSrc={(path) => url("/raw", path)}
          onDownload={(path) => location.assign(url("/download", path))}
          onDelete={remove}
        />
      </div>
    </>
  )
}
