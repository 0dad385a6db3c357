/** Sends requests of the Files API, and reads the heads of their responses. */
import { DateTime, Effect, Option } from "effect"
import type { HttpClientRequest, HttpClientResponse } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import type { FileEntry } from "../../FileEntry.ts"
import { DirectoryNotEmptyError, FileExistsError } from "../../FilesError.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import { advised } from "../workspace/advice.ts"
import * as Transport from "../workspace/transport.ts"

export type Response = HttpClientResponse.HttpClientResponse
export type Segments = ReadonlyArray<string>
export type Requests = ReturnType<typeof make>

export const make = (client: WorkspaceClient["Service"]) => {
  const send = (request: HttpClientRequest.HttpClientRequest, grant: Grant): Effect.Effect<Response, DatabricksError> =>
    Effect.mapError(client.send(request), needing(grant))
  return {
    send,
    /** Sends a request whose response has no content. */
    run: (request: HttpClientRequest.HttpClientRequest, grant: Grant): Effect.Effect<void, DatabricksError> =>
      Effect.flatMap(send(request, grant), Transport.drained)
  }
}

type Grant = "READ VOLUME" | "WRITE VOLUME"

// The response to a HEAD has no body that could name the permission or the scope.
const needing = (grant: Grant) =>
  advised({
    denied: `The caller needs ${grant} on the volume, USE SCHEMA and USE CATALOG, and a user's token the scope "files"`
  })

export const isNotFound = ({ reason }: DatabricksError): boolean => reason._tag === "NotFoundError"

export const isConflict = ({ status }: DatabricksError): boolean => status === 409

export const exists = (segments: Segments, advice: string): Effect.Effect<never, FileExistsError> => {
  const path = pathOf(segments)
  return Effect.fail(new FileExistsError({ path, message: `The file ${path} exists: ${advice}` }))
}

export const notEmpty = (segments: Segments): Effect.Effect<never, DirectoryNotEmptyError> => {
  const path = pathOf(segments)
  const message = `The directory ${path} is not empty: remove its entries first`
  return Effect.fail(new DirectoryNotEmptyError({ path, message }))
}

export const pathOf = (segments: Segments): string => `/${segments.join("/")}`

export const entryOf = (segments: Segments, fields: Omit<FileEntry, "path" | "name">): FileEntry => ({
  path: pathOf(segments),
  name: segments.at(-1) ?? "",
  ...fields
})

export const metadataOf = ({ headers }: Response) => ({
  lastModified: Option.getOrUndefined(DateTime.make(headers["last-modified"] ?? "")),
  contentType: headers["content-type"]
})

export const lengthOf = ({ headers }: Response): number | undefined => {
  const length = headers["content-length"]
  return length !== undefined && /^\d+$/.test(length) ? Number(length) : undefined
}
