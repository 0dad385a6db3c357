// The parts that the servers with AppKit share.
const settings = {
  cache: { enabled: true, ttl: 3600, cacheKey: ["sales"] },
  retry: { enabled: true, attempts: 3, initialDelay: 1000 },
  timeout: 30_000
}

/** A plugin's query, by its cache. */
export const cached = async (plugin, query) => {
  const result = await plugin.execute(query, { default: settings })
  if (!result.ok) throw new Error(result.message)
  return result.data
}

export const answer = (body) => async (request, response) => {
  try {
    response.json(await body(request))
  } catch (error) {
    response.status(500).json({ error: String(error) })
  }
}
