/** 32-bit floating point numbers, which JavaScript widens to 64 bits. */

/** Returns the number with the fewest digits that rounds to the same 32 bits: 0.1 for 0.10000000149011612. */
export const shortest = (value: number): number => {
  // 32 bits keep at least 6 digits, except for subnormal numbers; 9 digits are always enough.
  for (let digits = Math.abs(value) < 2 ** -126 ? 1 : 6; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Object.is(Math.fround(short), value)) return short
  }
  return value
}
