import { salesOf } from "../data.ts"
import { compare } from "../http.ts"
import { modules, resources } from "../streams.ts"

compare({
  name: "cached query, shared by processes",
  path: "/kept",
  due: salesOf,
  users: 20,
  connections: 20,
  goals: [],
  server: { modules, env: resources }
})
