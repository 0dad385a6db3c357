/** Bundles the measured applications with the command of docs/deploying.md. */
import { execFileSync } from "node:child_process"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** The applications, and their modules in this folder. */
const entries = { ours: "servers/ours.ts", streams: "servers/streams.ts", inProcess: "inProcess/ours.ts" }

/** The bundle of an application, relative to this folder. */
export const bundleOf = (name: keyof typeof entries) => `../.bench/${name}/main.js`

export const bundleAll = () => {
  const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
  // Vite brings it. The packages of this folder have an older one.
  const require = createRequire(new URL("../package.json", import.meta.url))
  const rolldown = join(dirname(require.resolve("rolldown/package.json")), "bin/cli.mjs")
  for (const [name, entry] of Object.entries(entries)) {
    const folder = dirname(here(bundleOf(name as keyof typeof entries)))
    const names = "--entryFileNames main.js --chunkFileNames chunks/[name].js"
    // The hidden map is for profiles, and leaves the bundle as it is.
    const flags = `${names} --platform node --cleanDir --minify --sourcemap hidden --logLevel warn`
    execFileSync(process.execPath, [rolldown, here(entry), "--dir", folder, ...flags.split(" ")], {
      stdio: ["ignore", "ignore", "inherit"]
    })
  }
}
