/** Paths of the workspace's API with an id in them. */

/**
 * Encodes each interpolation as one segment of the path, so that an id with a slash, a `?` or a `%` stays one segment. The
 * transport refuses the segments `.` and `..`, and half of a surrogate pair.
 */
export const path = (template: TemplateStringsArray, ...segments: ReadonlyArray<string>): string =>
  String.raw(template, ...segments.map((_) => (_.isWellFormed() ? encodeURIComponent(_) : _)))
