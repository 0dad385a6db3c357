import { assert, layer } from "@effect/vitest"
import { Files, getWorkspaceClient } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { text as contentOf } from "node:stream/consumers"
import { Live, notices, own, shared, WorkspaceForSdk } from "../../fixtures/files.ts"
import { call } from "../../fixtures/localWorkspace.ts"
import { alice, as, bob } from "../../fixtures/people.ts"

const files = "/api/2.0/fs/files"
const directories = "/api/2.0/fs/directories"

layer(WorkspaceForSdk, { timeout: "60 seconds", excludeTestServices: true })("The files of LocalWorkspace", (it) => {
  it.effect("answer paths that are not in a volume, or lead out of one, with a 400 or 404", () =>
    Effect.gen(function* () {
      const paths = [
        "/etc/passwd",
        "/Volumes/main/app",
        `${shared}/%2e%2e%2fx`,
        `${shared}/a%2fb`,
        `${shared}/%00`,
        `${shared}/%zz`
      ]
      for (const path of paths) {
        const { status } = yield* call(`${files}${path.replaceAll(" ", "%20")}`)
        assert.include([400, 404], status, path)
      }
    })
  )

  it.effect("refuse a user without the permission, by name", () =>
    Effect.gen(function* () {
      const denied = yield* call(`${directories}${encodeURI(own)}`, { user: bob })
      assert.deepStrictEqual(
        [denied.status, denied.json.error_code, denied.json.message],
        [403, "PERMISSION_DENIED", "User does not have READ VOLUME on Volume 'main.app.alice's own'."]
      )
      assert.strictEqual((yield* call(`${directories}${notices}`, { user: bob })).status, 200)
      const put = yield* call(`${files}${notices}/x`, { user: bob, method: "PUT", body: "x" })
      assert.include(put.json.message, "WRITE VOLUME")
    })
  )

  it.effect("need the scope files", () =>
    Effect.gen(function* () {
      const { token } = yield* LocalWorkspace.LocalWorkspace
      const refused = yield* call(`${directories}${shared}`, { token: yield* token(alice, { scopes: ["sql"] }) })
      assert.strictEqual(refused.status, 403)
      assert.include(refused.text, "required scopes: files")
    })
  )

  it.layer(Live)("with the Databricks SDK", (it) => {
    it.effect("list, describe, download and delete", () =>
      Effect.gen(function* () {
        const client = yield* getWorkspaceClient
        const volume = yield* Files.volume(shared)
        yield* volume.write("sdk/one.txt", "one")
        yield* client.use((sdk) => sdk.files.createDirectory({ directory_path: `${shared}/sdk/two` }))
        const names = yield* client.use(async (sdk) => {
          const found: Array<string | undefined> = []
          for await (const { name } of sdk.files.listDirectoryContents({ directory_path: `${shared}/sdk` }))
            found.push(name)
          return found
        })
        assert.deepStrictEqual(names, ["one.txt", "two"])
        const metadata = yield* client.use((sdk) => sdk.files.getMetadata({ file_path: `${shared}/sdk/one.txt` }))
        assert.strictEqual(Number(metadata["content-length"]), 3)
        const text = yield* client.use(async (sdk) => {
          const { contents } = await sdk.files.download({ file_path: `${shared}/sdk/one.txt` })
          return contentOf(contents!)
        })
        assert.strictEqual(text, "one")
        yield* client.use((sdk) => sdk.files.delete({ file_path: `${shared}/sdk/one.txt` }))
        assert.isFalse(yield* volume.exists("sdk/one.txt"))
      }).pipe(as(alice))
    )
  })

  it.effect("lie in a directory of the temporary folder", () =>
    Effect.sync(() =>
      assert.isTrue(fs.readdirSync(tmpdir()).some((name) => name.startsWith("effect-databricks-files-")))
    )
  )
})
