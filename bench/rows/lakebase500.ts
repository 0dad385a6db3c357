import { orders } from "../data.ts"
import { compare, lakebaseGoals } from "../http.ts"

compare(
  // Every server keeps a connection for each user. A fifth of the budget of ours is the service principal's.
  { users: 500, connections: 50, server: { connections: 640 }, maxConnections: 1_600 },
  [
    {
      name: "Lakebase query, 500 users",
      path: "/orders",
      due: orders,
      goals: lakebaseGoals
    }
  ]
)
