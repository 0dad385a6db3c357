/** The tables of docs/errors.md are those that the code decides by. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { eventCodeOf, reasons } from "../../src/internal/failures/httpStatus.ts"
import { type Row, rowOf, table } from "../../src/internal/failures/sqlState.ts"
import { fromAnswer } from "../../src/internal/workspace/answer.ts"
import { root } from "../fixtures/fences.ts"

const cells = readFileSync(join(root, "docs/errors.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim())
  )
const named = (cell: string) => Array.from(cell.matchAll(/`(\w+)`/g), ([, name]) => name!)
const saying = ({ isRetryable, status }: Pick<Row, "isRetryable" | "status">) => [
  String(status),
  isRetryable ? "yes" : "no",
  `\`${eventCodeOf(status, isRetryable)}\``
]

describe("docs/errors.md", () => {
  const sqlStates = cells.filter((row) => row.length === 6 && row[0] !== "SQLSTATE" && !row[0]!.startsWith("-"))
  const answers = cells.filter((row) => row.length === 5 && row[1]!.startsWith("`"))

  it("lists every SQLSTATE of the table once, with its row", () => {
    const listed = sqlStates.flatMap(([key, , ...row]) => named(key!).map((name) => [name, row] as const))
    assert.deepStrictEqual(listed.map(([name]) => name).toSorted(), Array.from(table.keys()).toSorted())
    for (const [name, row] of listed) {
      const { keepsConnection, ...decided } = rowOf(name)
      assert.deepStrictEqual(row, [...saying(decided), keepsConnection ? "kept" : "closed"], name)
    }
  })

  it("lists every reason of a DatabricksError once, with its row", () => {
    const listed = answers.flatMap(([, key, ...row]) => named(key!).map((name) => [name, row] as const))
    assert.deepStrictEqual(listed.map(([name]) => name).toSorted(), Object.keys(reasons).toSorted())
    for (const [name, row] of listed) assert.deepStrictEqual(row, saying(reasons[name as keyof typeof reasons]), name)
  })

  it("gives each reason of a DatabricksError its status in the table of every error", () => {
    const listed = cells.filter((row) => row[0]!.startsWith("– ")).map(([name, , status]) => [named(name!)[0], status])
    const decided = Object.entries(reasons).map(([name, { status }]) => [
      name,
      name === "StatementFailedError" ? "by its SQLSTATE" : String(status)
    ])
    assert.sameDeepMembers(listed, decided)
  })

  it("names the reason of each status that the workspace may answer with", () => {
    const named = answers.flatMap(([answer, reason]) => {
      const statuses = answer!.match(/^\d{3}(?=$|,)/g) ?? []
      return statuses.map((status) => [Number(status), reason] as const)
    })
    assert.isAbove(named.length, 4)
    for (const [status, reason] of named) {
      const error = fromAnswer({ endpoint: "GET /x", status, headers: {}, body: "" })
      assert.strictEqual(`\`${error.reason._tag}\``, reason)
    }
  })
})
