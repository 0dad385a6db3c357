/** Sentences name the thing that acts: these words are at most 3 of 1,000 in README.md and the guides, outside of code. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { guides, root } from "../fixtures/fences.ts"

const limit = 3
const counted = /^(what|who|whoever|nobody|somebody)$/i

const wordsOf = (text: string) =>
  text
    .replaceAll(/^(`{3,})[^]*?^\1$/gm, "")
    .replaceAll(/`[^`]*`/g, "code")
    .match(/[\p{L}\p{N}'’-]+/gu) ?? []

/** How many of 1,000 words are counted ones. */
const perThousand = (words: ReadonlyArray<string>) =>
  words.length === 0 ? 0 : (1000 * words.filter((word) => counted.test(word)).length) / words.length

describe("The words of README.md and the guides", () => {
  it.each(guides)("name actors in %s: at most 3 of 1,000 are counted ones", (file) =>
    assert.isAtMost(perThousand(wordsOf(readFileSync(join(root, file), "utf8"))), limit)
  )

  it("are counted outside of code only", () => {
    const text = ["Who asks, `who` of `what` is told.", "```ts", "const who = 1", "```", "Nobody."].join("\n")
    assert.deepStrictEqual(wordsOf(text), ["Who", "asks", "code", "of", "code", "is", "told", "Nobody"])
    assert.strictEqual(perThousand(wordsOf(text)), 250)
  })
})
