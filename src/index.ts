/**
 * All public modules, except those of `effect-databricks/testing` and `effect-databricks/ai/…`, which are named as those
 * of `effect/ai`.
 *
 * @since 0.1.0
 */
export * as AiSearch from "./AiSearch.ts"
export * as App from "./App.ts"
export * as Caller from "./Caller.ts"
export * as ChatCompletion from "./ChatCompletion.ts"
export * as DatabricksError from "./DatabricksError.ts"
export * as ExecutionContext from "./ExecutionContext.ts"
export {
  asService,
  asUser,
  bound,
  getCurrentUserId,
  getWarehouseId,
  getWorkspaceId,
  groupedByCaller,
  isInUserContext,
  provideUser
} from "./ExecutionContext.ts"
export { FileEntry } from "./FileEntry.ts"
export * as Files from "./Files.ts"
export * as FilesError from "./FilesError.ts"
export * as ForwardedHeaders from "./ForwardedHeaders.ts"
export * as Genie from "./Genie.ts"
export * as GenieMessage from "./GenieMessage.ts"
export * as IdentityError from "./IdentityError.ts"
export * as IdentityVerifier from "./IdentityVerifier.ts"
export * as JobRun from "./JobRun.ts"
export * as Jobs from "./Jobs.ts"
export * as Lakebase from "./Lakebase.ts"
export * as LakebaseError from "./LakebaseError.ts"
export * as Logs from "./Logs.ts"
export * as MetricRequest from "./MetricRequest.ts"
export * as MetricView from "./MetricView.ts"
export * as MetricViewError from "./MetricViewError.ts"
export * as ModelServing from "./ModelServing.ts"
export * as Operation from "./Operation.ts"
export * as OperationCache from "./OperationCache.ts"
export * as Queries from "./Queries.ts"
export * as QueryError from "./QueryError.ts"
export * as ServiceContext from "./ServiceContext.ts"
export * as SqlParameter from "./SqlParameter.ts"
export * as SqlWarehouse from "./SqlWarehouse.ts"
export * as Telemetry from "./Telemetry.ts"
export { UserContext } from "./UserContext.ts"
export * as WorkspaceClient from "./WorkspaceClient.ts"
export { getWorkspaceClient } from "./WorkspaceClient.ts"
export { AsService } from "./http/AsService.ts"
export { AsUser } from "./http/AsUser.ts"
export { Failures } from "./http/Failures.ts"
export * as FileTransfer from "./http/FileTransfer.ts"
export * as HttpFailure from "./http/HttpFailure.ts"
export * as Middleware from "./http/Middleware.ts"
export * as ResumableStreams from "./http/ResumableStreams.ts"
export * as ResumeError from "./http/ResumeError.ts"
export * as RunsAs from "./http/RunsAs.ts"
export * as ServerSentEvents from "./http/ServerSentEvents.ts"
export * as StaticFiles from "./http/StaticFiles.ts"
