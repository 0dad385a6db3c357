/** Reads days and timestamps in a warehouse's format: a year below 0 or above 9999 has a sign and all of its digits. */
import { DateTime } from "effect"

const day = "[+-]?\\d{4,7}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\\d|3[01])"
const time = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?"
const date = new RegExp(`^${day}$`)
const local = new RegExp(`^${day}[T ]${time}$`)
const instant = new RegExp(`^${day}[T ]${time}(?:Z|[+-]\\d\\d:\\d\\d)$`)

export const isDate = (text: string): boolean => date.test(text)

export const isLocal = (text: string): boolean => local.test(text)

// Reads digits by position: Date.parse would take most of the time of a row.
export const timestamp = (text: string): DateTime.Utc | undefined => {
  if (!instant.test(text)) return undefined
  // The index of the last four digits of the year.
  const start = text.indexOf("-", 1) - 4
  const year = start === 0 ? two(text, 0) * 100 + two(text, 2) : Number(text.slice(0, start + 4))
  const zone = text.endsWith("Z") ? text.length - 1 : text.length - "+00:00".length
  let millis = 0
  for (let at = start + 20, unit = 100; at < zone && unit >= 1; at++, unit /= 10) {
    millis += unit * (text.charCodeAt(at) - 48)
  }
  // Date.UTC maps the years below 100 to 19xx; 400 years later the calendar is the same.
  const shift = year >= 0 && year < 100 ? 400 : 0
  const local = Date.UTC(
    year + shift,
    two(text, start + 5) - 1,
    two(text, start + 8),
    two(text, start + 11),
    two(text, start + 14),
    two(text, start + 17),
    millis
  )
  const offset = zone === text.length - 1 ? 0 : (two(text, zone + 1) * 60 + two(text, zone + 4)) * 60_000
  const epoch = local - shift * yearMillis + (text[zone] === "-" ? offset : -offset)
  return Math.abs(epoch) <= maxMillis ? DateTime.makeUnsafe(epoch) : undefined
}

/** The range of a Date, before and after 1970. */
const maxMillis = 8.64e15

// The average over 400 years.
const yearMillis = 365.2425 * 86_400_000

const two = (text: string, at: number) => text.charCodeAt(at) * 10 + text.charCodeAt(at + 1) - 11 * 48

const cycle = 146_097 * 86_400

/** Returns day and time of seconds since 1970, for any year, by the calendar's period of 400 years. */
export const isoOf = (seconds: number): string => {
  const cycles = Math.floor(seconds / cycle)
  const iso = new Date((seconds - cycles * cycle) * 1000).toISOString()
  const year = Number(iso.slice(0, 4)) + 400 * cycles
  const written = `${year < 0 ? "-" : year > 9999 ? "+" : ""}${String(Math.abs(year)).padStart(4, "0")}`
  return written + iso.slice(4, -".000Z".length)
}
