/** The media types of files, by extension: the workspace has none, and its word is that of the uploader. */

/** No file of these types can run a script in the browser that shows it. */
const inline: { readonly [extension: string]: string } = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  bmp: "image/bmp",
  ico: "image/vnd.microsoft.icon",
  txt: "text/plain",
  log: "text/plain",
  csv: "text/csv",
  md: "text/markdown",
  json: "application/json",
  pdf: "application/pdf"
}

// In the element <img> an SVG runs no script. Opened by itself it would.
const svg = "image/svg+xml"

const extensionOf = (path: string) => path.slice(path.lastIndexOf(".") + 1).toLowerCase()

/** Returns the type of a path whose extension is known. */
export const known = (path: string): string | undefined => {
  const extension = extensionOf(path)
  return Object.hasOwn(inline, extension) ? inline[extension] : extension === "svg" ? svg : undefined
}

/** Returns whether a browser may show a file of this type. */
export const isInline = (type: string | undefined): boolean => type !== undefined && type !== svg

export const isImage = (type: string | undefined): boolean => type?.startsWith("image/") === true

export const isText = (type: string | undefined): boolean =>
  type?.startsWith("text/") === true || type === inline["json"]

/** Returns the type as a response has it. */
export const contentTypeOf = (type = "application/octet-stream"): string =>
  type.startsWith("text/") ? `${type}; charset=utf-8` : type
