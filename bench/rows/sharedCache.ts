import { salesOf } from "../data.ts"
import { compare } from "../http.ts"
import { modules, resources } from "../streams.ts"

compare({ users: 20, connections: 20, server: { modules, env: resources } }, [
  { name: "cached query, shared by processes", path: "/kept", due: salesOf, goals: [] }
])
