/** The bodies of the model, which its endpoint's OpenAPI describes. */
import "@databricks/appkit-ui/react"

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
