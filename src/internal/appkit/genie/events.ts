/** The events that `useGenieChat` reads, and the ids from which a stream resumes. */
import type { MessageRef } from "../../../GenieMessage.ts"

export type Event =
  | ({ readonly type: "message_start" } & MessageRef)
  | { readonly type: "status"; readonly status: string }
  | { readonly type: "message_result"; readonly message: Message }
  | QueryResult
  | {
      readonly type: "history_info"
      readonly conversationId: string
      readonly spaceId: string
      readonly nextPageToken: string | null
      readonly loadedCount: number
    }

export interface QueryResult {
  readonly type: "query_result"
  readonly attachmentId: string
  readonly statementId: string
  readonly data: Data
}

export interface Data {
  readonly manifest: {
    readonly schema: { readonly columns: ReadonlyArray<{ readonly name: string; readonly type_name: string }> }
  }
  readonly result: { readonly data_array: ReadonlyArray<ReadonlyArray<string | null>> }
  /** Whether rows are missing. AppKit's type does not have the field. */
  readonly truncated?: true | undefined
}

export interface Message extends MessageRef {
  readonly status: string
  /** The question. */
  readonly content: string
  readonly attachments: ReadonlyArray<Attachment>
  readonly error?: string | undefined
}

export interface Attachment {
  readonly attachmentId?: string | undefined
  readonly text?: { readonly content: string } | undefined
  readonly query?:
    | {
        readonly title?: string | undefined
        readonly description?: string | undefined
        readonly query?: string | undefined
        readonly statementId?: string | undefined
      }
    | undefined
  readonly suggestedQuestions?: ReadonlyArray<string> | undefined
}

/** An event with its id, which is not a part of its JSON. */
export interface Sent {
  readonly id: string
  readonly event: Event
  readonly toJSON: () => Event
}

export const sent = (id: string, event: Event): Sent => ({ id, event, toJSON: () => event })

/** The place of an event among those of its message: 0 the start, 1 a status, 2 the result, 3 and up its queries. */
export interface Place {
  readonly conversationId: string
  readonly messageId: string
  readonly order: number
  readonly status?: string | undefined
}

/** The id of an event: `conversation/message/order`, and of a status `conversation/message/1-STATUS`. */
export const idOf = ({ conversationId, messageId, order, status }: Place): string =>
  `${conversationId}/${messageId}/${order}${status === undefined ? "" : `-${status}`}`

/** Reads an id, which a client may have made up. */
export const placeOf = (id: string): Place | undefined => {
  const [, conversationId, messageId, order, status] = /^([^/]+)\/([^/]+)\/(\d{1,4})(?:-(.+))?$/.exec(id) ?? []
  return conversationId === undefined || messageId === undefined
    ? undefined
    : { conversationId, messageId, order: Number(order), status }
}
