/** Log entries as lines of text: JSON for machines, and shorter ones with colors for a terminal. */
import { Cause, Context, Formatter, type Logger, type LogLevel, References, Tracer } from "effect"
import { styleText } from "node:util"
import { lineIn } from "./line.ts"

/** The content of a line. */
export interface Entry {
  readonly date: Date
  readonly logLevel: LogLevel.LogLevel
  readonly message: string
  readonly annotations: Readonly<Record<string, unknown>>
  readonly span: Tracer.AnySpan | undefined
  readonly cause: Cause.Cause<unknown>
}

export type Format = (entry: Entry) => string

/** Returns an entry of Effect's log with the id of its request. */
export const entryOf = ({ cause, date, fiber, logLevel, message }: Logger.Options<unknown>): Entry => {
  const annotations: Record<string, unknown> = { ...fiber.getRef(References.CurrentLogAnnotations) }
  for (const [label, since] of fiber.getRef(References.CurrentLogSpans)) {
    annotations[`${label}_ms`] = date.getTime() - since
  }
  const line = lineIn(fiber.context)
  if (line !== undefined) annotations["request_id"] = line.requestId
  const span = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  return { date, logLevel, message: messageOf(message), annotations, span, cause }
}

/** The most characters of one value. */
const maxText = 16_384

const text = (value: unknown): string => {
  const whole = typeof value === "string" ? value : Formatter.format(value)
  return whole.length > maxText ? `${whole.slice(0, maxText)}…` : whole
}

const messageOf = (message: unknown): string => (Array.isArray(message) ? message.map(text).join(" ") : text(message))

/** Renders a failure by its message and those of its causes, and a defect by its stack. */
const causeOf = (cause: Cause.Cause<unknown>): string =>
  cause.reasons
    .map((reason) =>
      reason._tag === "Fail"
        ? said(reason.error)
        : reason._tag === "Die"
          ? Cause.pretty(Cause.fromReasons([reason]))
          : "The request was interrupted"
    )
    .join("\n")

const said = (error: unknown): string => {
  const sentences: Array<string> = []
  for (let at = error, depth = 0; at !== undefined && depth < 8; depth++) {
    if (!(at instanceof Error)) {
      sentences.push(text(at))
      break
    }
    const sentence = `${at.name}: ${at.message}`
    if (!sentences.includes(sentence)) sentences.push(sentence)
    at = at.cause
  }
  return text(sentences.join("\ncaused by "))
}

/** As many names of fields are kept in quotes. */
const maxNames = 256

/** The fields that each line may have of itself. */
const own = new Set(["time", "level", "message", "trace_id", "span_id", "cause"])

export const json = (): Format => {
  // Of all that a line costs, times and names would be half.
  let second = NaN
  let time = ""
  const timeOf = (date: Date) => {
    const millis = date.getTime()
    const began = Math.floor(millis / 1_000)
    if (began !== second) {
      second = began
      time = date.toISOString().slice(0, 20)
    }
    return `${time}${String(millis - began * 1_000).padStart(3, "0")}Z`
  }
  const names = new Map<string, string>()
  const nameOf = (key: string) => {
    const known = names.get(key)
    if (known !== undefined) return known
    const name = `,${quoted(own.has(key) ? `annotation.${key}` : key)}:`
    if (names.size < maxNames) names.set(key, name)
    return name
  }
  return ({ annotations, cause, date, logLevel, message, span }) => {
    let line = `{"time":"${timeOf(date)}","level":"${logLevel.toUpperCase()}","message":${quoted(message)}`
    for (const key in annotations) {
      const value = annotations[key]
      if (value !== undefined) line += nameOf(key) + jsonOf(value)
    }
    if (span !== undefined) line += `,"trace_id":"${span.traceId}","span_id":"${span.spanId}"`
    if (cause.reasons.length > 0) line += `,"cause":${quoted(causeOf(cause))}`
    return `${line}}`
  }
}

// oxlint-disable-next-line no-control-regex -- JSON escapes these
const escaped = /["\\\x00-\x1f\x7f\ud800-\udfff]/

const quoted = (value: string): string => (escaped.test(value) ? JSON.stringify(value) : `"${value}"`)

const jsonOf = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return quoted(text(value))
    case "number":
      return Number.isFinite(value) ? String(value) : `"${value}"`
    case "boolean":
      return String(value)
    case "object":
      try {
        const whole = Formatter.formatJson(value)
        return whole.length > maxText ? quoted(text(value)) : whole
      } catch {
        // A getter or a toJSON of the value threw: a line of the log fails no request.
        return quoted(text(value))
      }
    default:
      return quoted(text(value))
  }
}

/** Shows the control characters of a text, with which its writer could color, move or delete lines of a terminal. */
const visible = (text: string): string =>
  text.replaceAll(/(?![\t\n])\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`)

/** The same in lines of its own, so that none looks like an entry. */
const indented = (text: string): string => visible(text).replaceAll("\n", "\n  ")

const colors = { Fatal: "red", Error: "red", Warn: "yellow", Info: "green", Debug: "blue", Trace: "gray" } as const

export const pretty =
  (isColored: boolean): Format =>
  ({ annotations: all, cause, date, logLevel, message }) => {
    const style: typeof styleText = (format, text) =>
      isColored ? styleText(format, text, { validateStream: false }) : text
    const { method, route, status, ...annotations } = all
    // The message of a request says these three.
    const rest = message.startsWith(`${method} ${route} ${status}`) ? annotations : all
    const fields: Array<string> = []
    let below = ""
    for (const [key, value] of Object.entries(rest)) {
      if (value === undefined) continue
      if (key === "db.query.text" || key === "reason") below += indented(`\n${text(value)}`)
      else fields.push(visible(`${key}=${text(value)}`).replaceAll("\n", "\\n"))
    }
    if (cause.reasons.length > 0) below += indented(`\n${causeOf(cause)}`)
    const time = date.toTimeString().slice(0, 8)
    const level = logLevel.toUpperCase().padEnd(5)
    const color = logLevel === "All" || logLevel === "None" ? "gray" : colors[logLevel]
    return `${style("gray", time)} ${style(color, level)} ${indented(message)}${fields.length > 0 ? style("gray", `  ${fields.join(" ")}`) : ""}${below}`
  }

/** Tells in either format how many lines were dropped. */
export const droppedLine =
  (format: "json" | "pretty") =>
  (count: number): string => {
    const message = `${count} log lines were dropped: stdout is not read as fast as the application logs`
    return format === "json"
      ? JSON.stringify({ time: new Date().toISOString(), level: "WARN", message })
      : `WARN  ${message}`
  }
