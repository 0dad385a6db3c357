/** The entry point on Databricks Apps. */
import { App } from "effect-databricks"
import { Main } from "./server.ts"

App.runMain(Main)
