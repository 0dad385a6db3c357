import { orders } from "../data.ts"
import { compare } from "../http.ts"
import { pgbench } from "../pgbench.ts"

compare({
  name: "Lakebase query, 500 users",
  path: "/orders",
  due: orders,
  users: 500,
  connections: 50,
  peers: ["ours", "AppKit", "by hand"],
  goals: { AppKit: 3.5, "by hand": 1.2 },
  // Every server keeps a connection for each user. A fifth of the budget of ours is the service principal's.
  server: { connections: 640 },
  maxConnections: 1_600,
  more: pgbench(50)
})
