import { assert, layer } from "@effect/vitest"
import { getWorkspaceClient } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { Live, spaceId, spaces } from "../../../fixtures/genie.ts"
import { alice, as, bob } from "../../../fixtures/people.ts"

layer(LocalWorkspace.layer({ genie: spaces }), { timeout: "60 seconds", excludeTestServices: true })(
  "A Genie space of LocalWorkspace",
  (it) => {
    it.layer(Live)("under the official SDK", (it) => {
      it.effect("answers a question, a follow-up and for its rows, as the user", () =>
        Effect.gen(function* () {
          const client = yield* getWorkspaceClient
          const told = client.use(async (sdk) => {
            const waiter = await sdk.genie.startConversation({ space_id: spaceId, content: "Who am I?" })
            const { attachments, conversation_id, message_id, status } = await waiter.wait()
            const ids = { space_id: spaceId, conversation_id, message_id }
            const attachment_id = attachments?.find((_) => _.query)?.attachment_id ?? ""
            const result = await sdk.genie.getMessageAttachmentQueryResult({ ...ids, attachment_id })
            await sdk.genie.sendMessageFeedback({ ...ids, rating: "POSITIVE" })
            const next = await sdk.genie.createMessage({ ...ids, content: "And then?" })
            const { messages } = await sdk.genie.listConversationMessages(ids)
            return [
              status,
              result.statement_response?.result?.data_array,
              (await next.wait()).attachments?.[0]?.text?.content,
              messages?.map((_) => [_.content, _.feedback?.rating])
            ]
          })
          for (const user of [alice, bob]) {
            assert.deepStrictEqual(yield* as(user)(told), [
              "COMPLETED",
              [[user]],
              "Who am I?",
              [
                ["And then?", undefined],
                ["Who am I?", "POSITIVE"]
              ]
            ])
          }
        })
      )
    })
  }
)
