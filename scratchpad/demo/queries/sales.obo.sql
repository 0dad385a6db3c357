-- The sales that the user may see, the largest first.
-- @param atLeast INT
SELECT region, seller, amount FROM sales WHERE amount >= :atLeast ORDER BY amount DESC LIMIT 20
