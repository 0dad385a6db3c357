import type {} from "@databricks/appkit-ui/react"

interface Message {
  role: "user" | "assistant"
  content: string
}

declare module "@databricks/appkit-ui/react" {
  interface ServingEndpointRegistry {
    model: {
      request: { messages: Array<Message> }
      response: { choices: Array<{ message: Message }> }
      chunk: { choices?: Array<{ delta: { content?: string } }> }
    }
  }
}
