/** The runtimes that the package runs on. */

/** The version in `engines` of package.json. */
const least = [22, 16] as const

/** Returns the message for an unsupported runtime, or `undefined`. */
export const unsupported = (versions: Readonly<Record<string, string | undefined>>): string | undefined => {
  const other = versions["bun"] === undefined ? undefined : `Bun ${versions["bun"]}`
  const [major = 0, minor = 0] = (versions["node"] ?? "").split(".").map(Number)
  const isOld = major < least[0] || (major === least[0] && minor < least[1])
  return other === undefined && !isOld
    ? undefined
    : `effect-databricks needs Node ${least.join(".")} or later, and this is ${other ?? `Node ${versions["node"]}`}: start the app with node`
}
