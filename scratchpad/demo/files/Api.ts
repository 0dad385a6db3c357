import { FileEntry } from "effect-databricks/FileEntry"
import { FileExistsError, InvalidPathError, InvalidRangeError } from "effect-databricks/FilesError"
import { AsUser } from "effect-databricks/http/AsUser"
import { Failures } from "effect-databricks/http/Failures"
import * as RunsAs from "effect-databricks/http/RunsAs"
import { Schema } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"

// A name in any script, of one segment.
const params = { name: Schema.String.check(Schema.isPattern(/^[^/]{1,200}$/)) }

const Bytes = HttpApiSchema.StreamUint8Array()

class Files extends HttpApiGroup.make("files")
  .add(
    HttpApiEndpoint.get("list", "/api/files", { success: Schema.Array(FileEntry), error: InvalidPathError }),
    HttpApiEndpoint.get("download", "/api/files/:name", {
      params,
      success: Bytes,
      error: [InvalidPathError, InvalidRangeError]
    }),
    HttpApiEndpoint.put("upload", "/api/files/:name", {
      params,
      payload: Bytes,
      success: HttpApiSchema.Created,
      error: [InvalidPathError, FileExistsError]
    }),
    HttpApiEndpoint.delete("remove", "/api/files/:name", { params, error: InvalidPathError })
  )
  .middleware(AsUser)
  .annotate(OpenApi.Description, "Files in the directory of the user of the request, as that user.") {}

export class FilesApi extends RunsAs.checked(HttpApi.make("files").add(Files).middleware(Failures)) {}
