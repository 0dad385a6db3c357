/**
 * The model of a file or directory in a volume. This module loads nothing but `effect`, so that an application's Api
 * can return it.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * A file or a directory of a Unity Catalog volume.
 *
 * @since 0.1.0
 * @category models
 */
export const FileEntry = Schema.Struct({
  /** The path as the methods of `Files` take it: absolute, or relative to the volume of `Files.volume`. */
  path: Schema.String,
  /** The last segment of the path. */
  name: Schema.String,
  isDirectory: Schema.Boolean,
  /** The size of a file, in bytes. */
  size: Schema.optional(Schema.Int),
  /** The time of a file's last change. */
  lastModified: Schema.optional(Schema.DateTimeUtc),
  /** The media type that the workspace gives; absent in a list. */
  contentType: Schema.optional(Schema.String)
})

/**
 * A file or a directory of a Unity Catalog volume.
 *
 * @since 0.1.0
 * @category models
 */
export type FileEntry = typeof FileEntry.Type
