/** A private authority, and the certificate that the workspace and its Postgres have from it. */
import { generate, type SelfsignedOptions } from "selfsigned"

export interface Certificates {
  readonly authority: string
  readonly cert: string
  readonly key: string
}

// Node can read certificates, but not make them.
const make = (name: string, options: Omit<SelfsignedOptions, "keyType" | "algorithm">) =>
  generate([{ name: "commonName", value: name }], { ...options, keyType: "ec", algorithm: "sha256" })

export const issue = async (): Promise<Certificates> => {
  const root = await make("bench", { extensions: [{ name: "basicConstraints", cA: true, critical: true }] })
  const altNames = [
    { type: 2 as const, value: "localhost" },
    { type: 7 as const, ip: "127.0.0.1" }
  ]
  const { cert, private: key } = await make("workspace", {
    ca: { cert: root.cert, key: root.private },
    extensions: [{ name: "subjectAltName", altNames }]
  })
  return { authority: root.cert, cert, key }
}
