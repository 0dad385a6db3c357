import { Button, Input, useServingInvoke, useServingStream } from "@databricks/appkit-ui/react"
import { useState } from "react"
import { Failure, Panel } from "../parts.tsx"

/** A chat model as the user: its whole response at once, or as it is written. */
export const Model = () => {
  const [content, setContent] = useState("Hello")
  const body = { messages: [{ role: "user" as const, content }] }
  const whole = useServingInvoke(body, { alias: "model" })
  const streamed = useServingStream(body, { alias: "model" })
  return (
    <>
      <div className="flex gap-2">
        <Input aria-label="Message" value={content} onChange={({ target }) => setContent(target.value)} />
        <Button onClick={() => whole.invoke()} disabled={whole.loading}>
          Invoke
        </Button>
        <Button onClick={() => streamed.stream()} disabled={streamed.streaming}>
          Stream
        </Button>
      </div>
      <Panel id="whole" title="Invoke">
        <Failure message={whole.error} />
        <p>{whole.data?.choices[0]?.message.content}</p>
      </Panel>
      <Panel id="streamed" title="Stream" about={`${streamed.chunks.length} chunks`}>
        <Failure message={streamed.error} />
        <p>{streamed.chunks.map(({ choices }) => choices?.[0]?.delta.content ?? "").join("")}</p>
      </Panel>
    </>
  )
}
