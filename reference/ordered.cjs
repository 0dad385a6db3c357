/**
 * Gives docgen the modules in one order on every machine: `glob` has that of the file system. TypeScript prints the
 * members of a union in the order in which it met their types.
 */
const glob = require("glob")

const { glob: unordered } = glob

glob.glob = async (...options) => (await unordered(...options)).toSorted()
