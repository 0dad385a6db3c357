-- A reading for each minute of several days: more rows than fit into one chunk of a result.
SELECT minute, celsius FROM shop.readings ORDER BY minute
