-- The average fare of trips of up to this many miles, from the sample data of every workspace.
-- @param miles INT DEFAULT 5
SELECT CAST(ceil(trip_distance) AS INT) AS miles, CAST(count(*) AS INT) AS trips, avg(fare_amount) AS average
FROM trips WHERE trip_distance > 0 AND trip_distance <= :miles GROUP BY 1 ORDER BY 1
