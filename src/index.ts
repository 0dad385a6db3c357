/**
 * @since 0.1.0
 */
export * as App from "./App.ts"
export * as Caller from "./Caller.ts"
export * as DatabricksError from "./DatabricksError.ts"
export * as ExecutionContext from "./ExecutionContext.ts"
export {
  asService,
  asUser,
  getCurrentUserId,
  getWarehouseId,
  getWorkspaceId,
  groupedByCaller,
  isInUserContext,
  provideUser
} from "./ExecutionContext.ts"
export * as ForwardedHeaders from "./ForwardedHeaders.ts"
export * as IdentityError from "./IdentityError.ts"
export * as IdentityVerifier from "./IdentityVerifier.ts"
export * as Lakebase from "./Lakebase.ts"
export * as LakebaseError from "./LakebaseError.ts"
export * as Operation from "./Operation.ts"
export * as OperationCache from "./OperationCache.ts"
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
export * as HttpFailure from "./http/HttpFailure.ts"
export * as Middleware from "./http/Middleware.ts"
export * as RunsAs from "./http/RunsAs.ts"
export * as ServerSentEvents from "./http/ServerSentEvents.ts"
