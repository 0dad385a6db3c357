/** Checks that a connection to the OpenTelemetry collector opens. */
import { Effect } from "effect"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { codeOf } from "../../internal/workspace/answer.ts"
import { advice } from "../../internal/unreachable.ts"
import type { Variables } from "./environment.ts"
import { failed, type Finding, ok, skipped } from "./finding.ts"

const check = "collector"
const variable = "OTEL_EXPORTER_OTLP_ENDPOINT"

export const examine = ({ valueOf }: Variables): Effect.Effect<Finding> => {
  const endpoint = valueOf(variable)
  if (endpoint === undefined || valueOf("OTEL_SDK_DISABLED")?.toLowerCase() === "true") {
    return Effect.succeed(
      skipped(check, `${endpoint === undefined ? `${variable} is not set` : "OTEL_SDK_DISABLED is true"}: no telemetry`)
    )
  }
  const url = URL.parse(endpoint.includes("://") ? endpoint : `https://${endpoint}`)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return Effect.succeed(
      failed(check, `${variable} is not a URL: set it to that of a collector, such as http://localhost:4317`)
    )
  }
  return connected(url).pipe(
    Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.fail<string | undefined>("timeout") }),
    Effect.match({
      onSuccess: () => ok(check, `${url.host} accepts connections`),
      onFailure: (code) =>
        failed(
          check,
          `${url.host} cannot be reached (${code}): ${advice(code, `start the collector, or unset ${variable}`)}`
        )
    })
  )
}

const connected = (url: URL): Effect.Effect<void, string | undefined> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const host = url.hostname.replace(/^\[(.*)\]$/, "$1")
      const target = { host, port: Number(url.port) || (url.protocol === "http:" ? 80 : 443) }
      return url.protocol === "http:"
        ? { socket: Net.connect(target), opened: "connect" }
        : {
            socket: Tls.connect({ ...target, ...(Net.isIP(host) === 0 && { servername: host }) }),
            opened: "secureConnect"
          }
    }),
    ({ opened, socket }) =>
      Effect.callback<void, string | undefined>((resume) => {
        socket.once(opened, () => resume(Effect.void)).on("error", (error) => resume(Effect.fail(codeOf(error))))
      }),
    ({ socket }) => Effect.sync(() => void socket.destroy())
  )
