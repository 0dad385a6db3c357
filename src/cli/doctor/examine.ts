/** Runs the checks: runtime → variables → host → sign-in → warehouse → Lakebase → the user's token → collector. */
import { Context, Effect, Layer, type Option, type Redacted, Result, type Scope } from "effect"
import { HttpClient } from "effect/http"
import { codeOf } from "../../internal/workspace/answer.ts"
import * as Sources from "../../internal/workspace/sources.ts"
import * as Start from "../../internal/workspace/start.ts"
import { messageOf } from "../../internal/message.ts"
import { advice } from "../../internal/unreachable.ts"
import * as ServiceContext from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Collector from "./collector.ts"
import * as Environment from "./environment.ts"
import { failed, type Finding, ok, skipped } from "./finding.ts"
import * as Lakebase from "./lakebase.ts"
import * as Token from "./token.ts"
import * as Warehouse from "./warehouse.ts"

/** Reports each finding at once, and returns all findings. */
export const examine = Effect.fnUntraced(
  function* (token: Option.Option<Redacted.Redacted>, report: (finding: Finding) => Effect.Effect<void>) {
    const findings: Array<Finding> = []
    const say = <R>(check: Effect.Effect<Finding | ReadonlyArray<Finding>, never, R>) =>
      Effect.flatMap(check, (found) =>
        Effect.forEach([found].flat(), (finding) => {
          findings.push(finding)
          return report(finding)
        })
      )
    yield* say(Environment.runtime)
    const variables = yield* Environment.variables
    yield* say(Effect.succeed(Environment.examine(variables)))
    const settings = yield* Effect.result(settingsFound)
    yield* say(Result.isSuccess(settings) ? host(settings.success) : Effect.succeed([]))
    const service = yield* Effect.result(Layer.build(ServiceContext.layerConfig()))
    if (Result.isSuccess(service)) {
      yield* say(Effect.succeed(signedIn(service.success)))
      for (const check of [Warehouse.examine, Lakebase.examine(variables), Token.examine(token, variables)]) {
        yield* say(Effect.provideContext(check, service.success))
      }
    } else {
      yield* say(Effect.succeed(failed("sign-in", messageOf(service.failure))))
      const unchecked = (check: string) => skipped(check, "not checked, because the sign-in failed")
      yield* say(Effect.succeed(unchecked("warehouse")))
      yield* say(Lakebase.examineSettings(variables, unchecked("lakebase")))
      yield* say(Effect.succeed(unchecked("token")))
    }
    yield* say(Collector.examine(variables))
    return findings
  },
  Effect.provide(Start.layerHttpClient),
  Effect.scoped
)

const settingsFound = Effect.flatMap(Start.config, ({ environment }) => Sources.find({}, environment))

const host = ({ address: { origin } }: Sources.Settings) =>
  HttpClient.get(`${origin}/oidc/.well-known/oauth-authorization-server`).pipe(
    Effect.mapError((error) => codeOf(error.reason.cause) ?? "no answer"),
    Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => Effect.fail("timeout") }),
    Effect.match({
      onSuccess: () => ok("host", `${origin} answers`),
      onFailure: (code) =>
        failed(
          "host",
          `${origin} cannot be reached (${code}): ${advice(code, "check DATABRICKS_HOST and the network")}`
        )
    })
  )

const signedIn = (context: Context.Context<ServiceContext.ServiceContext | WorkspaceClient>) => {
  const { principal, workspaceId } = Context.get(context, ServiceContext.ServiceContext)
  const { email, id, userName } = principal
  return ok(
    "sign-in",
    `as ${email === undefined ? "the service principal" : "the person"} ${userName} (id ${id}) in workspace ${workspaceId}`
  )
}

export type Checked = Effect.Effect<
  Finding | ReadonlyArray<Finding>,
  never,
  ServiceContext.ServiceContext | WorkspaceClient | Scope.Scope
>
