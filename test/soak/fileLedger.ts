/** Every file of the users, and the contents that it may have. */
import type { Fate } from "./ledger.ts"

/** The hash of a file that does not exist. */
export const nothing = "nothing"

export interface File {
  readonly owner: string
  readonly name: string
  /** The hashes of the contents that it may have: several after an upload of unknown fate. */
  possible: ReadonlySet<string>
  /** Whether a request uses it. */
  isBusy: boolean
}

/** Whether the file exists, with a content that is not in doubt. */
export const isCertain = ({ possible }: File) => possible.size === 1 && !possible.has(nothing)

export class FileLedger {
  private readonly files = new Map<string, File>()
  private readonly fates = { acknowledged: 0, refused: 0, unknown: 0 }

  /** Enters a file that does not exist yet. */
  open(owner: string): File {
    // A name that has to be encoded.
    const file: File = { owner, name: `ü%2e+#${this.files.size + 1}.bin`, possible: new Set([nothing]), isBusy: false }
    this.files.set(`${owner}/${file.name}`, file)
    return file
  }

  /** Records the end of an upload. */
  settle(file: File, hash: string, fate: Fate): void {
    this.fates[fate]++
    if (fate === "acknowledged") file.possible = new Set([hash])
    // Its request may still be on its way, so that a later upload does not decide either.
    if (fate === "unknown") file.possible = new Set([...file.possible, hash])
  }

  /** Returns the files, of this user or of all others, that no request uses. */
  free(owner: string, whose: "own" | "others" = "own"): ReadonlyArray<File> {
    return [...this.files.values()].filter((file) => !file.isBusy && (file.owner === owner) === (whose === "own"))
  }

  counts(): Readonly<Record<Fate, number>> {
    return { ...this.fates }
  }

  /** Compares the hashes of the stored files, by owner and name, with the ledger. */
  audit(stored: ReadonlyMap<string, string>): { readonly wrong: ReadonlyArray<string>; readonly carriedOut: number } {
    const wrong = [...stored.keys()].filter((path) => !this.files.has(path)).map((path) => `No user wrote ${path}`)
    let carriedOut = 0
    for (const [path, { possible }] of this.files) {
      const hash = stored.get(path) ?? nothing
      if (!possible.has(hash)) {
        const why = hash === nothing ? "is lost" : "has a content that is not of the last acknowledged upload"
        wrong.push(`${path} ${why}`)
      } else if (possible.size > 1 && hash === [...possible].at(-1)) carriedOut++
    }
    return { wrong, carriedOut }
  }
}
