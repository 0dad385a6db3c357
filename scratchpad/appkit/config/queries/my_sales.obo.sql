-- The sales that the user may see.
-- @param region STRING DEFAULT NULL
-- @param atLeast INT DEFAULT 0
SELECT id, day, region, product, amount FROM shop.sales
WHERE amount >= :atLeast AND (:region IS NULL OR region = :region)
ORDER BY id
