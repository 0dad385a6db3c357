export * as LocalWorkspace from "./LocalWorkspace.ts"
export * as TestContext from "./TestContext.ts"
