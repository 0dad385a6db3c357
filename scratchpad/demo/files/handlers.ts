import { Files, FileTransfer, UserContext } from "effect-databricks"
import { Effect, Stream } from "effect"
import { HttpApiBuilder } from "effect/http-api"
import { FilesApi } from "./Api.ts"

/**
 * Each user has a directory of the volume, which the verified id names. No path of a request leads out of it.
 *
 * Unity Catalog grants whole volumes: a user with READ VOLUME can read the others' directories with another tool.
 */
export const FilesLive = (volume: string) => {
  const mine = Effect.flatMap(UserContext, ({ id }) => Files.userVolume(`${volume}/${id}`))
  return HttpApiBuilder.group(FilesApi, "files", (handlers) =>
    handlers
      .handle("list", () =>
        Effect.flatMap(mine, (files) => Stream.runCollect(Stream.take(files.list(""), 1000))).pipe(
          // The first upload makes the directory.
          Effect.catchReason("DatabricksError", "NotFoundError", () => Effect.succeed([]))
        )
      )
      .handle("download", ({ params: { name } }) => Effect.flatMap(mine, (files) => FileTransfer.download(files, name)))
      .handle("upload", ({ params: { name } }) =>
        Effect.flatMap(mine, (files) => FileTransfer.upload(files, name, { maxSize: "100 MB" }))
      )
      .handle("remove", ({ params: { name } }) => Effect.flatMap(mine, (files) => files.remove(name)))
  )
}
