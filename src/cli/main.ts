#!/usr/bin/env node
/** The command line of the package. */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)

// An older Node fails while it loads the packages, with a stack that does not name the cause.
if (major > 22 || (major === 22 && minor >= 16)) {
  const { run } = await import("./program.ts")
  run()
} else {
  process.stderr.write(
    `effect-databricks needs Node 22.16 or later, and this is Node ${process.versions.node}: update Node\n`
  )
  process.exitCode = 1
}
