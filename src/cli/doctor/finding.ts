/** The findings of the checks. */

/** With a warning an application still starts. A skipped check has no configuration, or cannot run. */
export type State = "ok" | "warning" | "failed" | "skipped"

export interface Finding {
  readonly check: string
  readonly state: State
  readonly says: string
}

const finding =
  (state: State) =>
  (check: string, says: string): Finding => ({ check, state, says })

export const ok = finding("ok")
export const warning = finding("warning")
export const failed = finding("failed")
export const skipped = finding("skipped")
