/** `npm run bench` makes every measurement, `npm run bench -- NAME…` some; each in a process of its own. */
import { spawnSync } from "node:child_process"

const all = ["chain", "warehouse"]

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  console.error(`No measurement is called ${unknown.join()}: there is ${all.join()}`)
  process.exit(2)
}
for (const name of asked.length === 0 ? all : asked) {
  const { status } = spawnSync(process.execPath, [...process.execArgv, `${import.meta.dirname}/${name}.ts`], {
    stdio: "inherit"
  })
  if (status !== 0) process.exitCode = 1
}
