/** The pages: a screen for each subject, in one frame with a navigation. */
import { Effect, FileSystem, Layer, Path } from "effect"
import { HttpMiddleware, HttpRouter, HttpServerResponse } from "effect/http"

const web = (file: string) =>
  Effect.gen(function* () {
    const { readFileString } = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    return yield* readFileString(yield* path.fromFileUrl(new URL(`web/${file}`, import.meta.url)))
  })

const types = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml"
}

const answer = (content: string, type: keyof typeof types) =>
  HttpMiddleware.withLoggerDisabled(
    Effect.succeed(
      HttpServerResponse.text(content, {
        contentType: types[type],
        headers: {
          "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
          "x-content-type-options": "nosniff",
          "cache-control": "no-cache"
        }
      })
    )
  )

/** Serves a file of the folder `web`, which is read once. Its requests are not logged. */
export const file = (path: `/${string}`, name: `${string}.${keyof typeof types}`) =>
  HttpRouter.use((router) =>
    Effect.flatMap(web(name), (content) =>
      router.add("GET", path, answer(content, name.slice(name.lastIndexOf(".") + 1) as keyof typeof types))
    )
  )

/** A screen has a file `web/NAME.html`, and a module `web/NAME.js` that fills it. */
export interface Screen {
  readonly path: `/${string}`
  readonly name: string
  readonly title: string
}

export const who: Screen = { path: "/", name: "who", title: "Caller" }
export const orders: Screen = { path: "/orders", name: "orders", title: "Orders" }
export const files: Screen = { path: "/files", name: "files", title: "Files" }
export const job: Screen = { path: "/job", name: "job", title: "Job" }
export const genie: Screen = { path: "/genie", name: "genie", title: "Genie" }
export const chat: Screen = { path: "/chat", name: "chat", title: "Chat" }
export const budget: Screen = { path: "/budget", name: "budget", title: "Budget" }

/** Serves these screens. Each screen loads `modules` first. */
export const layer = (screens: ReadonlyArray<Screen>, modules: ReadonlyArray<string> = []) =>
  Layer.mergeAll(
    file("/page.css", "page.css"),
    file("/page.js", "page.js"),
    file("/favicon.svg", "favicon.svg"),
    file("/favicon.ico", "favicon.svg"), // /docs has no link to an icon
    ...screens.map((screen) =>
      Layer.merge(page(screen, screens, modules), file(`/${screen.name}.js`, `${screen.name}.js`))
    )
  )

const page = ({ name, path, title }: Screen, screens: ReadonlyArray<Screen>, modules: ReadonlyArray<string>) =>
  HttpRouter.use((router) =>
    Effect.gen(function* () {
      const links = screens.map((to) => {
        const current = to.path === path ? ' aria-current="page"' : ""
        return `<a href="${to.path}"${current}>${to.title}</a>`
      })
      const scripts = [...modules, `/${name}.js`].map((src) => `<script type="module" src="${src}"></script>`)
      const parts = { title, links: links.join("\n"), screen: yield* web(`${name}.html`), scripts: scripts.join("\n") }
      const frame = yield* web("frame.html")
      yield* router.add(
        "GET",
        path,
        answer(
          frame.replaceAll(/<!-- (\w+) -->/g, (_, part: keyof typeof parts) => parts[part]),
          "html"
        )
      )
    })
  )
