/** The page tokens of a front end: those of the workspace, sealed for one caller, one alias and its columns. */
import { Schema } from "effect"
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto"

const Page = Schema.Struct({
  columns: Schema.Array(Schema.String),
  queryType: Schema.String,
  /** The workspace's own token. */
  token: Schema.String
})

export type Page = typeof Page.Type

/** The sender and the alias that a token is for. */
export type Owner = readonly [sender: string, alias: string]

/** Makes the tokens of this key. Without one, they are valid in this process only. */
export const make = (key: string | Uint8Array = randomBytes(32)) => {
  const seal = (owner: Owner, payload: string) =>
    createHmac("sha256", key)
      .update(JSON.stringify([...owner, payload]))
      .digest()
  return {
    seal: (owner: Owner, page: Page): string => {
      const payload = Buffer.from(JSON.stringify(page)).toString("base64url")
      return `${payload}.${seal(owner, payload).toString("base64url")}`
    },
    open: (owner: Owner, token: string): Page | undefined => {
      const [payload = "", given = ""] = token.split(".")
      const bytes = Buffer.from(given, "base64url")
      const expected = seal(owner, payload)
      return bytes.length === expected.length && timingSafeEqual(bytes, expected)
        ? decode(JSON.parse(Buffer.from(payload, "base64url").toString()))
        : undefined
    }
  }
}

const decode = Schema.decodeUnknownSync(Page)
