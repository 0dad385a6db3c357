-- The sum of the user's sales in each region.
SELECT region, sum(amount) AS amount FROM shop.sales GROUP BY region ORDER BY region
