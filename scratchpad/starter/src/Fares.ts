/** Taxi fares from the SQL warehouse, as the user, with the user's permissions in Unity Catalog. */
import * as queries from "./queries.ts"

/** The query of `config/queries/fares.obo.sql`, in the sample data of every workspace. */
export const fares = queries.fares({}, { catalog: "samples", schema: "nyctaxi" })
