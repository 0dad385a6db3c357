import { health } from "../data.ts"
import { compare } from "../http.ts"

compare({
  name: "route with no I/O",
  path: "/health",
  due: () => health,
  users: 20,
  connections: 20,
  goals: [{ what: "server's CPU", peer: "AppKit", atMost: 0.5 }]
})
