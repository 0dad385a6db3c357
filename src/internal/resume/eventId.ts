/** The ids of events on the wire: `<stream>.<number>`, or `<stream>.<number>.<id>` with an id of the application. */

export interface EventId {
  readonly streamId: string
  readonly number: number
  /** The application's part. */
  readonly id: string | undefined
}

/** Encodes an id, in ASCII and on one line, so that it returns unchanged as a header. */
export const format = ({ id, number, streamId }: EventId): string =>
  `${streamId}.${number}${id === undefined ? "" : `.${encodeURIComponent(id.toWellFormed())}`}`

/** Decodes a `Last-Event-ID`, or returns `undefined` if it is not an id of this form. */
export const parse = (text: string): EventId | undefined => {
  if (text.length > maxLength) return undefined
  const [, streamId, number, id] = /^([\w-]{16})\.(\d{1,15})(?:\.(.*))?$/.exec(text) ?? []
  if (streamId === undefined) return undefined
  try {
    return { streamId, number: Number(number), id: id === undefined ? undefined : decodeURIComponent(id) }
  } catch {
    return undefined // a percent sign without its digits
  }
}

/** The longest id that is decoded. */
const maxLength = 4_096
