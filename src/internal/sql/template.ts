import type { Input } from "../../SqlParameter.ts"

/** The text of a template whose interpolations have become parameters. */
export const fromTemplate = (template: ReadonlyArray<string>, values: ReadonlyArray<Input>) => {
  // A marker that the template's author wrote must not be bound to an interpolation by chance.
  const written = template.join(" ").toLowerCase()
  let prefix = "p_"
  while (written.includes(prefix)) prefix = `p${prefix}`
  const text = template.reduce((before, after, index) => {
    const marker = `${before}:${prefix}${index}`
    return /^\w/.test(after) ? `${marker} ${after}` : marker + after
  })
  return { text, parameters: Object.fromEntries(values.map((value, index) => [`${prefix}${index + 1}`, value])) }
}
