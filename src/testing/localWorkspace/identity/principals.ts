/** Who can call the workspace. */
import { randomUUID } from "node:crypto"
import type { User } from "../../LocalWorkspace.ts"

/** A user or a service principal of the workspace. */
export interface Principal {
  readonly kind: "user" | "service"
  /** The SCIM id: a decimal string. */
  readonly id: string
  /** The SCIM user name and the Postgres role: an e-mail address, or the client UUID. */
  readonly userName: string
  readonly displayName: string
  /** What the Apps proxy puts before the `@`; deliberately not the SCIM id, as nobody may assume that it is. */
  readonly forwardedId: string
}

/** The scope that stands for every other. */
export const allScopes = "all-apis"

const decimalId = (prefix: string, index: number) => `${prefix}${String(index).padStart(16 - prefix.length, "0")}`

export const user = ({ userName, displayName }: User, index: number): Principal => ({
  kind: "user",
  id: decimalId("40", index + 1),
  userName,
  displayName: displayName ?? userName.split("@")[0] ?? userName,
  forwardedId: decimalId("70", index + 1)
})

export const servicePrincipal = (displayName: string): Principal => ({
  kind: "service",
  id: decimalId("30", 1),
  userName: randomUUID(),
  displayName,
  forwardedId: decimalId("60", 1)
})
