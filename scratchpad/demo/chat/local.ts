/** The chat model of the local workspace, which has a script. */
import type { ChatCompletion } from "effect-databricks"
import { LocalServing } from "effect-databricks/testing"
import { Schema } from "effect"
import { Sale } from "./Api.ts"

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Array(Sale)))

/** The reply to the result of the tool. */
const about = (result: string): LocalServing.Turn => {
  const sales = decode(result)
  if (sales._tag === "None") return { text: "I could not read your sales." }
  const units = sales.value.reduce((sum, { amount }) => sum + (amount ?? 0), 0)
  return { text: `These are ${sales.value.length} sales of yours, ${units} units together. The query ran as you.` }
}

const turnOf = (messages: ChatCompletion.Request["messages"], user: string): LocalServing.Turn => {
  const { content, role } = messages.at(-1)!
  const question = String(content)
  if (role === "tool") return about(question)
  const [, atLeast = "5"] = /sales\D*(\d*)/i.exec(question) ?? []
  if (/\bsales\b/i.test(question)) {
    return { text: "I look it up.", toolCalls: [{ name: "sales", arguments: { atLeast: Number(atLeast || 5) } }] }
  }
  const text = [
    `You are ${user}: this request reached the endpoint with your token, and not with the app’s.`,
    `It is turn ${messages.filter(({ role }) => role === "user").length} of our conversation, and you said “${question}”.`,
    "I am a script on this machine, and send a few characters at a time.",
    "Write “my sales” for a tool that reads them, “long” for a reply that you can stop, and “break” for one that breaks off."
  ]
  const isLong = /\blong\b/i.test(question)
  return {
    text: (isLong ? Array.from({ length: 40 }, () => text.join(" ")) : text).join("\n"),
    ...(/\bbreak\b/i.test(question) && {
      breaks: { after: 12, with: LocalServing.refuse(429, "The model is over its limit of tokens per minute.") }
    })
  }
}

export const model = LocalServing.chat(({ messages }, { user }) => ({
  delay: "40 millis",
  ...turnOf(messages, user)
}))
