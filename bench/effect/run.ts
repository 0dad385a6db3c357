/** What Effect costs in a request: each part alone, with no other library. */
import { environment } from "../harness.ts"
import { client } from "./client.ts"
import { contexts, spans, statements, timeouts } from "./operations.ts"
import { server } from "./server.ts"

console.log(`${environment}\n`)
await server()
await timeouts()
await spans()
await contexts()
await statements()
await client()
