/** The script with the client config, as `@databricks/appkit-ui` reads it from the page. */
import type { Values } from "../../../appkit/ClientConfig.ts"

/**
 * Returns the page with the client config as its first script.
 *
 * The script stands behind the doctype and the start tags of `html` and `head`, as far as the page has them. HTML's rules
 * put it into the head in any case, before every script of the page.
 */
export const insert = (html: string, values: Values): string => {
  const at = preamble.exec(html)![0].length // it matches the empty text
  return `${html.slice(0, at)}<script id="__appkit__" type="application/json">${textOf(values)}</script>${html.slice(at)}`
}

const preamble =
  /^\uFEFF?(?:\s+|<!--(?:-?>|[^]*?--!?>)|<![a-z][^>]*>|<\?[^>]*>|<(?:html|head)(?=[\s/>])(?:"[^"]*"|'[^']*'|[^"'>])*>)*/i

/** Returns JSON that no HTML parser takes for a tag, a comment or the end of the script. */
const textOf = (values: Values): string =>
  JSON.stringify(values).replaceAll(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  )
