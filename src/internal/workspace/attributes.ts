/** The settings of the SDK's auth chain, written out so that a start reads them without loading the SDK. */
export interface Attribute {
  /** The SDK's name. */
  readonly name: string
  /** The key in a profile. */
  readonly confName: string
  readonly envVar: string | undefined
  /** The way to sign in to which it belongs. */
  readonly auth: string | undefined
}

const attribute = (name: string, envVar?: string, auth?: string): Attribute => ({
  name,
  confName: name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  envVar,
  auth
})

/** In the SDK's order. */
export const attributes: ReadonlyArray<Attribute> = [
  attribute("host", "DATABRICKS_HOST"),
  attribute("metadataServiceUrl", "DATABRICKS_METADATA_SERVICE_URL"),
  attribute("accountId", "DATABRICKS_ACCOUNT_ID"),
  attribute("workspaceId", "DATABRICKS_WORKSPACE_ID"),
  attribute("experimentalIsUnifiedHost", "DATABRICKS_EXPERIMENTAL_IS_UNIFIED_HOST"),
  attribute("token", "DATABRICKS_TOKEN", "pat"),
  attribute("username", "DATABRICKS_USERNAME", "basic"),
  attribute("password", "DATABRICKS_PASSWORD", "basic"),
  attribute("profile", "DATABRICKS_CONFIG_PROFILE"),
  attribute("configFile", "DATABRICKS_CONFIG_FILE"),
  attribute("googleServiceAccount", "DATABRICKS_GOOGLE_SERVICE_ACCOUNT", "google"),
  attribute("googleCredentials", "GOOGLE_CREDENTIALS", "google"),
  attribute("azureWorkspaceResourceId", "DATABRICKS_AZURE_RESOURCE_ID", "azure"),
  attribute("azureUseMsi", "ARM_USE_MSI", "azure"),
  attribute("azureClientSecret", "ARM_CLIENT_SECRET", "azure"),
  attribute("azureClientId", "ARM_CLIENT_ID", "azure"),
  attribute("azureTenantId", "ARM_TENANT_ID", "azure"),
  attribute("azureEnvironment", "ARM_ENVIRONMENT"),
  attribute("azureLoginAppId", "DATABRICKS_AZURE_LOGIN_APP_ID", "azure"),
  attribute("clientId", "DATABRICKS_CLIENT_ID", "oauth"),
  attribute("clientSecret", "DATABRICKS_CLIENT_SECRET", "oauth"),
  attribute("databricksCliPath", "DATABRICKS_CLI_PATH"),
  attribute("authType", "DATABRICKS_AUTH_TYPE"),
  attribute("clusterId", "DATABRICKS_CLUSTER_ID"),
  attribute("serverlessComputeId", "DATABRICKS_SERVERLESS_COMPUTE_ID"),
  attribute("warehouseId", "DATABRICKS_WAREHOUSE_ID"),
  attribute("skipVerify"),
  attribute("httpTimeoutSeconds"),
  attribute("retryTimeoutSeconds")
]
