/** The workspace's APIs as the caller of the running fiber. */
import { type Context, Effect, Schema } from "effect"
import type { HttpClientRequest } from "effect/http"
import type { DatabricksError } from "../../DatabricksError.ts"
import { callerIn, refused } from "../../ExecutionContext.ts"
import * as Operation from "../../Operation.ts"
import { ServiceContext } from "../../ServiceContext.ts"
import type { WorkspaceClient } from "../../WorkspaceClient.ts"
import * as Answer from "./answer.ts"
import { elsewhere } from "./bound.ts"
import * as Sdk from "./sdk.ts"
import * as Transport from "./transport.ts"

/** Makes the client over a transport. */
export const make = (
  service: ServiceContext["Service"],
  transport: { readonly send: Transport.Send; readonly fetch: WorkspaceClient["Service"]["fetch"] }
): WorkspaceClient["Service"] => {
  const send = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.contextWith((context: Context.Context<never>) => {
      const caller = callerIn(context, service.principal)
      return refused(context, caller) ?? elsewhere(caller, service.principal) ?? transport.send(caller, request)
    })
  const execute = <A, R, O extends Operation.Policy>(
    effect: Effect.Effect<A, DatabricksError, R>,
    options: O | undefined,
    operation: Operation.SpanOptions
  ) => {
    const { retry, timeout, totalTimeout }: Operation.Policy = options ?? {}
    return effect.pipe(
      Operation.execute({ ...operation, retry, timeout, totalTimeout }),
      Effect.provideService(ServiceContext, service)
      // The compiler cannot see that options without a timeout cause no timeout error.
    ) as Effect.Effect<A, DatabricksError | Operation.TimeoutOf<O>, Exclude<R, ServiceContext>>
  }
  const ofRequest = (request: HttpClientRequest.HttpClientRequest) => ({
    name: "workspace.request",
    attributes: { "workspace.endpoint": Answer.endpointOf(request) }
  })
  return {
    send,
    fetch: transport.fetch,
    request: (request, options) => execute(send(request), options, ofRequest(request)),
    requestJson: (request, schema, options) =>
      execute(Effect.flatMap(send(request), Transport.json(Schema.toCodecJson(schema))), options, ofRequest(request)),
    use: (call, options) => execute(Sdk.use(service.host, send, call), options, { name: "workspace.use" })
  }
}
