-- A statement that fails when it runs.
SELECT id, amount / (id - id) AS ratio FROM shop.sales
