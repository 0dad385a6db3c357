import { orders } from "../data.ts"
import { compare } from "../http.ts"

compare({
  name: "Lakebase query, 20 users",
  path: "/orders",
  due: orders,
  users: 20,
  connections: 20,
  goals: [
    { what: "server's CPU", peer: "AppKit", atMost: 0.5 },
    { what: "server's CPU", peer: "by hand", atMost: 1.6 },
    { what: "p99", peer: "by hand", atMost: 1.1 }
  ],
  plain: true
})
