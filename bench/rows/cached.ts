import { salesOf } from "../data.ts"
import { compare } from "../http.ts"

compare({
  name: "cached query",
  path: "/cached",
  due: salesOf,
  users: 20,
  connections: 20,
  goals: [{ what: "server's CPU", peer: "AppKit", atMost: 0.5 }]
})
