import { health, orders, salesOf } from "../data.ts"
import { compare, lakebaseGoals, type Sample } from "../http.ts"
import { tell } from "../results.ts"

const warehouse = "warehouse query"

const dialledEach = (samples: ReadonlyArray<Sample>) =>
  samples.reduce((sum, { dialled }) => sum + dialled, 0) / samples.reduce((sum, { answered }) => sum + answered, 0)

compare({ users: 20, connections: 20 }, [
  {
    name: "Lakebase query, 20 users",
    path: "/orders",
    due: orders,
    goals: lakebaseGoals,
    plain: true
  },
  {
    name: warehouse,
    path: "/sales",
    due: salesOf,
    goals: [{ what: "server's CPU", peer: "AppKit", atMost: 1 / 6 }],
    plain: true,
    more: (samples) => {
      const dialled = dialledEach(samples.get("ours")!)
      const found = `${dialled.toFixed(3)} (AppKit ${dialledEach(samples.get("AppKit")!).toFixed(3)})`
      return tell({
        check: {
          work: warehouse,
          goal: "new TLS connections to the workspace per call: 0",
          found,
          holds: dialled === 0
        }
      })
    }
  },
  {
    name: "route with no I/O",
    path: "/health",
    due: () => health,
    goals: [{ what: "server's CPU", peer: "AppKit", atMost: 0.5 }]
  },
  {
    name: "cached query",
    path: "/cached",
    due: salesOf,
    goals: [{ what: "server's CPU", peer: "AppKit", atMost: 0.5 }]
  }
])
