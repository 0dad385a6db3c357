/** The users and service principals of the workspace. */
import { createHash, randomUUID } from "node:crypto"
import type { User } from "../../LocalWorkspace.ts"

/** A user or a service principal of the workspace. */
export interface Principal {
  /** The SCIM id, a decimal string, which the Apps proxy sends before the `@`. */
  readonly id: string
  /** The SCIM user name and the Postgres role: an e-mail address, or the client UUID. */
  userName: string
  readonly displayName: string
  active: boolean
}

/** The scope that includes all others. */
export const allScopes = "all-apis"

const decimalId = (prefix: string, number: number) => `${prefix}${String(number).padStart(16 - prefix.length, "0")}`

/** The same name has the same id in each workspace, whatever other users it has. */
const numberOf = (userName: string) => createHash("sha256").update(userName).digest().readUIntBE(0, 6) % 10 ** 14

export const user = ({ active = true, displayName, id, userName }: User): Principal => ({
  id: id ?? decimalId("40", numberOf(userName)),
  userName,
  displayName: displayName ?? userName.split("@")[0] ?? userName,
  active
})

export const servicePrincipal = (displayName: string, clientId: string = randomUUID()): Principal => ({
  id: decimalId("30", 1),
  userName: clientId,
  displayName,
  active: true
})
