/** The profiles of the Databricks CLI: sections of an INI file, by default `~/.databrickscfg`. */
import { type Config, Effect } from "effect"
import { readFile } from "node:fs/promises"
import { homedir } from "node:os"
import { resolve } from "node:path"
import { refused } from "./settings.ts"

export interface Profile {
  readonly name: string
  readonly file: string
  /** The values by lower-case key, without blank ones. */
  readonly values: Readonly<Record<string, string>>
}

/** Reads the profile of this name, else the file's default profile, else `DEFAULT`. */
export const read = Effect.fnUntraced(function* (wanted: {
  readonly name: string | undefined
  readonly file: string | undefined
}): Effect.fn.Return<Profile | undefined, Config.ConfigError> {
  const file = resolve((wanted.file ?? "~/.databrickscfg").replace(/^~(?=[/\\]|$)/, homedir()))
  const bytes = yield* Effect.catch(
    Effect.tryPromise({ try: () => readFile(file), catch: (cause) => (cause as NodeJS.ErrnoException).code }),
    (code) =>
      wanted.file !== undefined
        ? refused(`DATABRICKS_CONFIG_FILE names a file that cannot be read (${code}): ${file}`)
        : wanted.name !== undefined
          ? refused(
              `The profile "${wanted.name}" cannot be read (${code}): check DATABRICKS_CONFIG_PROFILE and ${file}`
            )
          : Effect.undefined
  )
  if (bytes === undefined) return undefined
  const sections = parse(decode(bytes))
  const preferred = sections.get(settings)?.["default_profile"]
  const name = wanted.name ?? preferred ?? "DEFAULT"
  const values = name === settings ? undefined : sections.get(name)
  if (values !== undefined) return { name, file, values }
  if (wanted.name !== undefined) {
    return yield* refused(
      `There is no profile "${name}" in ${file}: check DATABRICKS_CONFIG_PROFILE and DATABRICKS_CONFIG_FILE`
    )
  }
  return preferred === undefined
    ? undefined
    : yield* refused(`There is no profile "${name}" in ${file}, which its default_profile names`)
})

const settings = "__settings__"

// Editors on Windows write a byte order mark, which a decoder omits, and PowerShell also writes UTF-16.
const decode = (bytes: Uint8Array) => {
  const mark = `${bytes[0]} ${bytes[1]}`
  return new TextDecoder(mark === "255 254" ? "utf-16le" : mark === "254 255" ? "utf-16be" : "utf-8").decode(bytes)
}

// The SDK's parser ends a value at any "#" or ";", splits "[a.b]", and keeps blank values.
const parse = (text: string): ReadonlyMap<string, Readonly<Record<string, string>>> => {
  const sections = new Map<string, Record<string, string>>()
  let section: Record<string, string> = {}
  for (const line of text.split(/\r\n?|\n/).map((line) => line.trim())) {
    const name = /^\[(.+)\](?:\s*[#;].*)?$/.exec(line)?.[1]?.trim()
    if (name !== undefined) {
      section = sections.get(name) ?? {}
      sections.set(name, section)
      continue
    }
    const [, key = "", value = ""] = /^([^#;=:][^=:]*)[=:](.*)$/.exec(line) ?? []
    const plain = value
      .replace(/(^|\s)[#;].*$/, "")
      .trim()
      .replace(/^(["'])(.*)\1$/, "$2")
      .trim()
    if (plain !== "") section[key.trim().toLowerCase()] = plain
  }
  return sections
}
