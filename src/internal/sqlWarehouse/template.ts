/** What a statement is written as: a template, or text that is at hand. */
import type { Input } from "../../SqlParameter.ts"
import type { Statement } from "./models.ts"

export type Template<A> = (template: TemplateStringsArray, ...values: ReadonlyArray<Input>) => A
export type Text<A> = (text: string, parameters?: Readonly<Record<string, Input>>) => A

export const ofTemplate =
  <A>(run: (statement: Statement) => A): Template<A> =>
  (template, ...values) =>
    run(fromTemplate(template, values))

export const ofText =
  <A>(run: (statement: Statement) => A): Text<A> =>
  (text, parameters) =>
    run({ text, parameters })

/** The text of a template whose interpolations have become parameters. */
const fromTemplate = (template: ReadonlyArray<string>, values: ReadonlyArray<Input>) => {
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
