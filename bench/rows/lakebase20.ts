import { orders } from "../data.ts"
import { compare } from "../http.ts"
import { pgbench } from "../pgbench.ts"

compare({
  name: "Lakebase query, 20 users",
  path: "/orders",
  due: orders,
  users: 20,
  connections: 20,
  peers: ["ours", "AppKit", "by hand"],
  goals: { AppKit: 3.5, "by hand": 1.2 },
  more: pgbench(20)
})
