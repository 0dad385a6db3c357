/**
 * Metric views of the local workspace, over tables of its Postgres.
 *
 * @since 0.1.0
 */

/**
 * A metric view.
 *
 * @category models
 * @since 0.1.0
 */
export interface View {
  /** The name `catalog.schema.view`. */
  readonly source: string
  /** The table, or a query in parentheses, in the dialect of Postgres. It is read as the caller. */
  readonly from: string
  readonly measures: Readonly<Record<string, Column>>
  readonly dimensions: Readonly<Record<string, Column>>
}

/**
 * A measure or dimension: its expression in the dialect of Postgres, such as `sum(amount)` or `region`.
 *
 * @category models
 * @since 0.1.0
 */
export type Column =
  | string
  | {
      readonly expression: string
      readonly displayName?: string
      readonly comment?: string
      /** As in the YAML of a metric view: `{ currency: { currency_code: "USD", decimal_places: { places: 2 } } }`. */
      readonly format?: object
    }
