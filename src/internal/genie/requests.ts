/** Requests of the Genie API as the caller of the fiber, whose refusals say what is missing. */
import { Effect } from "effect"
import type { HttpClientRequest, HttpClientResponse } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { MessageRef } from "../../GenieMessage.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { advised } from "../workspace/advice.ts"
import { path } from "../workspace/path.ts"

/** Sends a request about this space. */
export type Send = (
  request: HttpClientRequest.HttpClientRequest,
  spaceId: string
) => Effect.Effect<HttpClientResponse.HttpClientResponse, DatabricksError>

export const make =
  ({ send }: Pick<WorkspaceClient["Service"], "send">): Send =>
  (request, spaceId) =>
    Effect.mapError(send(request), advised(advice(spaceId)))

export const conversationPath = (spaceId: string, conversationId: string): string =>
  path`/api/2.0/genie/spaces/${spaceId}/conversations/${conversationId}/messages`

export const pathOf = ({ conversationId, messageId, spaceId }: MessageRef): string =>
  `${conversationPath(spaceId, conversationId)}${path`/${messageId}`}`

const advice = (spaceId: string) => ({
  denied: `The caller needs CAN RUN on the Genie space ${spaceId}, CAN USE on its warehouse and SELECT on its tables`,
  missing: `Check the id of the Genie space ${spaceId} and that it is shared with the caller; rows that are no longer stored come back with rerun: true`
})
