type IsAny<A> = 0 extends 1 & A ? true : false

type Same<A, B> = true extends IsAny<A> | IsAny<B> ? false : [A] extends [B] ? ([B] extends [A] ? true : false) : false

interface Typed<Actual> {
  /** Compiles when the type is the expected one, no wider and no narrower, and not `any`. */
  readonly is: <Expected>(...mismatch: Same<Expected, Actual> extends true ? [] : [Expected, Actual]) => void
}

export declare const typeOf: <Actual>(value: Actual) => Typed<Actual>
