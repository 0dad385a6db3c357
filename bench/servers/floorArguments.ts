/** What the runner passes to a server by hand. */
export const [port, workspace, warehouse, pgPort, database, sslMode] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string
]
