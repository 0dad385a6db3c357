/**
 * The errors of `Files` that a caller acts on. This module loads nothing but `effect`, so that an application's Api can
 * declare them.
 *
 * @since 0.1.0
 */
import { Schema } from "effect"

/**
 * The path is not one that `Files` sends (400). No request was sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidPathError extends Schema.TaggedError<InvalidPathError>("effect-databricks/InvalidPathError")(
  "InvalidPathError",
  { message: Schema.String, path: Schema.String },
  { httpApiStatus: 400 }
) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The file exists, and `overwrite` is not set; or a file has the path of the directory to create (409).
 *
 * @since 0.1.0
 * @category errors
 */
export class FileExistsError extends Schema.TaggedError<FileExistsError>("effect-databricks/FileExistsError")(
  "FileExistsError",
  { message: Schema.String, path: Schema.String },
  { httpApiStatus: 409 }
) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The directory to remove has entries: remove these first (409).
 *
 * @since 0.1.0
 * @category errors
 */
export class DirectoryNotEmptyError extends Schema.TaggedError<DirectoryNotEmptyError>(
  "effect-databricks/DirectoryNotEmptyError"
)("DirectoryNotEmptyError", { message: Schema.String, path: Schema.String }, { httpApiStatus: 409 }) {
  get isRetryable(): boolean {
    return false
  }
}

/**
 * The range is not one of whole bytes in order, or it begins beyond the end of the file (416).
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRangeError extends Schema.TaggedError<InvalidRangeError>("effect-databricks/InvalidRangeError")(
  "InvalidRangeError",
  { message: Schema.String, path: Schema.String },
  { httpApiStatus: 416 }
) {
  get isRetryable(): boolean {
    return false
  }
}
