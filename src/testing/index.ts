export * as TestContext from "./TestContext.ts"
