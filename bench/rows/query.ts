import { salesOf } from "../data.ts"
import { compare, type Sample } from "../http.ts"
import { tell } from "../results.ts"

const name = "warehouse query"

const each = (samples: ReadonlyArray<Sample>) =>
  samples.reduce((sum, { dialled }) => sum + dialled, 0) / samples.reduce((sum, { answered }) => sum + answered, 0)

compare({
  name,
  path: "/sales",
  due: salesOf,
  users: 20,
  connections: 20,
  goals: [{ what: "server's CPU", peer: "AppKit", atMost: 1 / 6 }],
  plain: true,
  more: (samples) => {
    const dialled = each(samples.get("ours")!)
    const found = `${dialled.toFixed(3)} (AppKit ${each(samples.get("AppKit")!).toFixed(3)})`
    return tell({
      check: { work: name, goal: "new TLS connections to the workspace per call: 0", found, holds: dialled === 0 }
    })
  }
})
