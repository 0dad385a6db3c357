import { Effect, FileSystem, Layer, Path } from "effect"
import { HttpMiddleware, HttpRouter, HttpServerResponse } from "effect/http"

const web = (file: string) =>
  Effect.gen(function* () {
    const { readFileString } = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    return yield* readFileString(yield* path.fromFileUrl(new URL(`web/${file}`, import.meta.url)))
  })

const types = { html: "text/html; charset=utf-8", css: "text/css; charset=utf-8", js: "text/javascript; charset=utf-8" }

/** Serves a file of the folder `web`, read once and left out of the log; `edit` is for what the page is made of. */
export const file = (
  path: `/${string}`,
  name: `${string}.${keyof typeof types}`,
  edit: (content: string) => Effect.Effect<string> = Effect.succeed
) =>
  HttpRouter.use((router) =>
    Effect.gen(function* () {
      const content = yield* Effect.flatMap(web(name), edit)
      const answer = HttpServerResponse.text(content, {
        contentType: types[name.slice(name.lastIndexOf(".") + 1) as keyof typeof types],
        headers: {
          "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
          "x-content-type-options": "nosniff",
          "cache-control": "no-cache"
        }
      })
      yield* router.add("GET", path, HttpMiddleware.withLoggerDisabled(Effect.succeed(answer)))
    })
  )

/** The page, with `extra` at its end. */
export const layer = (extra: string) =>
  Layer.mergeAll(
    file("/", "page.html", (html) => Effect.succeed(html.replace("<!-- extra -->", () => extra))),
    file("/page.css", "page.css"),
    file("/page.js", "page.js")
  )

/** What goes to the end of the page where there is an orders desk. */
export const desk = `<script type="module" src="/mine.js"></script>`

export const layerDesk = Layer.mergeAll(file("/desk.js", "desk.js"), file("/mine.js", "mine.js"))
