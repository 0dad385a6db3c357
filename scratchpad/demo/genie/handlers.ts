import { Genie, GenieMessage, ServerSentEvents } from "effect-databricks"
import { Effect } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { GenieApi } from "./Api.ts"

/** The most rows that the page shows. */
const shown = 200

const toResponse = ServerSentEvents.toResponse({ schema: GenieMessage.Event })

export const GenieLive = (spaceId: string) =>
  HttpApiBuilder.group(GenieApi, "genie", (handlers) =>
    handlers
      .handle("ask", ({ payload: { conversationId, question } }) =>
        Effect.flatMap(Genie.user, (genie) => toResponse(genie.ask(spaceId, question, { conversationId })))
      )
      .handle("watch", ({ params }) =>
        Effect.flatMap(Genie.user, (genie) => toResponse(genie.watch({ spaceId, ...params })))
      )
      .handle("rows", ({ params }) =>
        Effect.gen(function* () {
          const genie = yield* Genie.user
          const { columns, rows, truncated } = yield* genie.table({ spaceId, ...params })
          return {
            columns: columns.map(({ name }) => name),
            rows: rows.slice(0, shown),
            truncated: truncated || rows.length > shown
          }
        })
      )
  )
