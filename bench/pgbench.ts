/** Postgres alone with the same query, as one of the users, on as many connections. */
import { Console, Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Bed from "./bed.ts"
import { cpuOfFamily } from "./child.ts"
import { query, userName } from "./data.ts"
import type { Samples } from "./http.ts"
import { median, spread } from "./results.ts"

const seconds = 2

export const pgbench = (clients: number) =>
  Effect.fnUntraced(function* (bed: Bed.Bed, samples: Samples) {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "bench-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
    )
    const file = join(folder, "query.sql")
    writeFileSync(file, `${query};\n`)
    const [sender] = yield* bed.senders(0, 1, () => "")
    const run = Effect.promise(async () => {
      const before = cpuOfFamily(bed.postmaster)
      const { stdout } = await promisify(execFile)(
        "pgbench",
        ["--no-vacuum", "--protocol=prepared", `--client=${clients}`, `--time=${seconds}`, `--file=${file}`],
        {
          env: {
            PATH: "/usr/local/bin:/usr/bin:/bin",
            PGHOST: "127.0.0.1",
            PGPORT: bed.env["PGPORT"],
            PGDATABASE: bed.env["PGDATABASE"],
            PGUSER: userName(0),
            PGPASSWORD: sender!.headers["x-forwarded-access-token"]
          }
        }
      )
      const number = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1])
      const queries = number(/transactions actually processed: (\d+)/)
      return {
        rate: number(/tps = ([\d.]+)/),
        cpu: ((cpuOfFamily(bed.postmaster) - before) / queries) * 1e6
      }
    })
    // On a crowded machine it may get no further than to log in.
    const runs = (yield* Effect.replicateEffect(run, Bed.rounds)).filter(({ rate }) => rate > 0)
    const rate = runs.map(({ rate }) => rate)
    const ours = median(samples.get("ours")!.map(({ rate }) => rate))
    yield* Console.log(
      `\nPostgres alone, asked by pgbench over ${clients} connections: ${spread(rate)} queries/s,` +
        ` ${spread(runs.map(({ cpu }) => cpu))} µs of its CPU each; ours reaches ${Math.round((ours / median(rate)) * 100)} %.`
    )
  })
