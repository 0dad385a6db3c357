/**
 * The files of a local workspace: Unity Catalog volumes in a real directory, which is removed with the workspace unless
 * the workspace keeps its data.
 *
 * @since 0.1.0
 */

/**
 * A volume of a local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface Volume {
  /** `/Volumes/catalog/schema/volume` */
  readonly path: string
  /** The user names that have READ VOLUME; everyone by default. The service principal reads and writes every volume. */
  readonly readers?: ReadonlyArray<string>
  /** The user names that have WRITE VOLUME; everyone by default. */
  readonly writers?: ReadonlyArray<string>
}

/**
 * The option `files` of a local workspace.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** `/Volumes/main/default/files` by default. */
  readonly volumes?: ReadonlyArray<Volume>
  /** The number of entries in a page of a list, if the request does not set one; 1,000 by default. */
  readonly pageSize?: number
  /** Whether a page without entries comes before each page of a list; `false` by default. */
  readonly emptyPages?: boolean
}
