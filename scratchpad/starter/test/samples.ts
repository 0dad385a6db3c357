/** The sample data of Databricks that the app reads, for the local workspace: its Postgres has the schema, not the catalog. */
export const trips = `
  CREATE SCHEMA IF NOT EXISTS nyctaxi;
  CREATE TABLE IF NOT EXISTS nyctaxi.trips AS
    SELECT n / 10.0::float8 AS trip_distance, 3 + n / 4.0::float8 AS fare_amount FROM generate_series(1, 80) AS n;
  GRANT USAGE ON SCHEMA nyctaxi TO PUBLIC;
  GRANT SELECT ON nyctaxi.trips TO PUBLIC;
`
