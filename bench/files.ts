/** A file of 1 GiB through an application, up and down, as a user: memory above idle, and CPU of its process. */
import { Console, Effect, Layer } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { fork } from "node:child_process"
import { once } from "node:events"
import * as Http from "node:http"
import { App, Files, FileTransfer, Middleware, ServiceContext } from "../src/index.ts"
import { LocalWorkspace } from "../src/testing/index.ts"
import { cpu, memory } from "./child.ts"

const gibibytes = 1
const volume = Files.userVolume("/Volumes/main/default/files")

const routes = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/file",
    Effect.flatMap(volume, (files) => FileTransfer.download(files, "file.bin"))
  ),
  HttpRouter.add(
    "PUT",
    "/file",
    Effect.flatMap(volume, (files) =>
      Effect.as(FileTransfer.upload(files, "file.bin", { overwrite: true }), HttpServerResponse.empty({ status: 201 }))
    )
  )
).pipe(Layer.provide(Middleware.asUser.layer), Layer.provideMerge(Middleware.layerFailures))

/** The application, in a process of its own. */
const application = Layer.effectDiscard(
  Effect.map(HttpServer.HttpServer, ({ address }) => process.send!("port" in address ? address.port : 0))
).pipe(
  Layer.provideMerge(HttpRouter.serve(routes, { disableListenLog: true })),
  Layer.provide(App.layerHttpServer({ port: 0, host: "127.0.0.1" })),
  Layer.provide(Files.layer),
  Layer.provide(ServiceContext.layerConfig())
)

const chunk = Buffer.alloc(256 * 1024, 7)

const upload = async (port: number, headers: Record<string, string>, size: number) => {
  const length = { "content-length": size }
  const request = Http.request({
    port,
    host: "127.0.0.1",
    method: "PUT",
    path: "/file",
    headers: { ...headers, ...length }
  })
  const answered = once(request, "response")
  for (let sent = 0; sent < size; sent += chunk.length) {
    if (!request.write(chunk.subarray(0, size - sent))) await once(request, "drain")
  }
  request.end()
  const [response] = await answered
  response.resume()
  return response.statusCode === 201 ? size : 0
}

const download = async (port: number, headers: Record<string, string>) => {
  const [response] = await once(Http.get({ port, host: "127.0.0.1", path: "/file", headers }), "response")
  let received = 0
  for await (const part of response) received += part.length
  return received
}

const main = Effect.gen(function* () {
  const { env, headers } = yield* LocalWorkspace.LocalWorkspace
  const user = yield* headers("alice@example.com")
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => fork(new URL(import.meta.url), ["application"], { env: { ...env }, execArgv: process.execArgv })),
    (child) => Effect.sync(() => void child.kill())
  )
  const [port] = yield* Effect.promise(() => once(child, "message"))
  const pid = child.pid!
  const run = Effect.fnUntraced(function* (name: string, size: number, work: () => Promise<number>) {
    const [idle, used, start] = [memory(pid).now, cpu(pid), performance.now()]
    let peak = idle
    const sampling = setInterval(() => (peak = Math.max(peak, memory(pid).now)), 5)
    const moved = yield* Effect.promise(work)
    clearInterval(sampling)
    const seconds = (performance.now() - start) / 1000
    if (moved !== size) return yield* Effect.die(new Error(`${name}: ${moved} bytes of ${size}`))
    const mebibytes = Math.round(size / 2 ** 20)
    yield* Console.log(
      `${name.padEnd(6)}${String(mebibytes).padStart(6)} MiB in ${seconds.toFixed(1).padStart(5)} s  ` +
        `${String(Math.round(mebibytes / seconds)).padStart(5)} MiB/s  ` +
        `${(cpu(pid) - used).toFixed(1).padStart(5)} s of CPU  ${(peak - idle).toFixed(0).padStart(4)} MiB above idle (${idle.toFixed(0)})`
    )
  })
  // The first transfers load, compile and let the heap grow to its size.
  for (const size of [256 * 2 ** 20, gibibytes * 2 ** 30]) {
    yield* run("up", size, () => upload(port, user, size))
    yield* run("down", size, () => download(port, user))
  }
})

const program: Effect.Effect<void, unknown> =
  process.argv[2] === "application"
    ? Layer.launch(application)
    : Effect.scoped(Effect.provide(main, LocalWorkspace.layer()))
await Effect.runPromise(program)
