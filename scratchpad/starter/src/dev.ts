/** The app on this machine, at http://localhost:8000: a local workspace, and a proxy that signs users in. */
import { App } from "effect-databricks"
import { LocalWorkspace } from "effect-databricks/testing"
import { trips } from "../test/samples.ts"
import { Main } from "./server.ts"

App.runMain(LocalWorkspace.dev(Main, { seed: trips }))
