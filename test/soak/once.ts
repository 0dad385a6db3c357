/** Every question, prompt and run of a job, and how often it reached the workspace. */
import type { Fate } from "./ledger.ts"

export interface Request {
  readonly owner: string
  readonly key: string
  fate: Fate
  /** How often it reached the workspace. */
  times: number
}

export class Once {
  private readonly requests = new Map<string, Request>()
  private readonly wrong: Array<string> = []
  private readonly prefix: string

  constructor(prefix: string) {
    this.prefix = prefix
  }

  open(owner: string): Request {
    const request: Request = { owner, key: `${this.prefix}${this.requests.size + 1}`, fate: "unknown", times: 0 }
    this.requests.set(request.key, request)
    return request
  }

  /** Records that the workspace carries it out, for this owner. Returns how often it did so before. */
  reached(key: string, owner?: string): number {
    const request = this.requests.get(key)
    if (request === undefined) {
      this.wrong.push(`${key} reached the workspace, and no user sent it`)
      return 0
    }
    if (owner !== undefined && owner !== request.owner) {
      this.wrong.push(`${key} of ${request.owner} reached the workspace as ${owner}'s`)
    }
    return request.times++
  }

  counts(): Readonly<Record<Fate, number>> {
    const counts = { acknowledged: 0, refused: 0, unknown: 0 }
    for (const { fate } of this.requests.values()) counts[fate]++
    return counts
  }

  /** Returns the errors, and the number of unknown requests that were carried out. */
  audit(): { readonly wrong: ReadonlyArray<string>; readonly carriedOut: number } {
    const wrong = [...this.wrong]
    let carriedOut = 0
    for (const { fate, key, owner, times } of this.requests.values()) {
      const most = fate === "refused" ? 0 : 1
      const least = fate === "acknowledged" ? 1 : 0
      if (times > most || times < least) wrong.push(`${key} of ${owner} (${fate}) reached the workspace ${times} times`)
      else if (fate === "unknown") carriedOut += times
    }
    return { wrong, carriedOut }
  }
}
