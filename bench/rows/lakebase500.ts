import { orders } from "../data.ts"
import { compare } from "../http.ts"

compare({
  name: "Lakebase query, 500 users",
  path: "/orders",
  due: orders,
  users: 500,
  connections: 50,
  goals: [
    { what: "server's CPU", peer: "AppKit", atMost: 0.5 },
    { what: "server's CPU", peer: "by hand", atMost: 1.6 },
    { what: "p99", peer: "by hand", atMost: 1.1 }
  ],
  // Every server keeps a connection for each user. A fifth of the budget of ours is the service principal's.
  server: { connections: 640 },
  maxConnections: 1_600
})
