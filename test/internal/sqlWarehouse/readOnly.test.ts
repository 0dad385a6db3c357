import { assert, describe, it } from "@effect/vitest"
import { isReadOnly } from "../../../src/internal/sqlWarehouse/readOnly.ts"

const reading = [
  "SELECT 1",
  "  select\n1 ; \n",
  "WITH t AS (SELECT 1) SELECT * FROM t",
  "(SELECT 1) UNION (SELECT 2)",
  "VALUES (1), (2)",
  "TABLE sales",
  "FROM sales |> WHERE amount > 1",
  "SHOW TABLES",
  "SHOW CREATE TABLE sales",
  "DESCRIBE TABLE sales",
  "DESC sales",
  "EXPLAIN SELECT 1",
  "-- of today\nSELECT 1",
  "-- DROP TABLE sales\r\n/* and * more */ SELECT updated_at, inserted FROM deletes -- the end",
  "SELECT replace(name, 'a', 'b') FROM sales WHERE word = 'created'",
  // What it calls only computes.
  "SELECT COUNT (*), sum(a) OVER (PARTITION BY b ORDER BY c) FROM sales WHERE d IN (1, 2) AND (e OR NOT (f))",
  "SELECT count(*) FILTER (WHERE a > 1), percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM sales",
  "SELECT CAST(a AS DECIMAL(10, 2)), -(b), c / (1 + 2) FROM IDENTIFIER(:table)",
  "WITH t(a, b) AS (SELECT 1, 2), u (c) AS\n(VALUES (1)) SELECT * FROM t, u",
  "SELECT * FROM (VALUES (1, 2)) AS t(a, b) JOIN (SELECT 1) u (c) USING (a)",
  "EXPLAIN (FORMAT JSON) SELECT 1"
]

const writing = [
  "",
  "-- SELECT 1",
  "INSERT INTO sales VALUES (1)",
  "insert/**/into sales SELECT 1",
  "UPDATE sales SET x = 1",
  "DELETE FROM sales",
  "MERGE INTO sales USING x ON true WHEN MATCHED THEN DELETE",
  "COPY INTO sales FROM 's3://x'",
  "CREATE TABLE selects AS SELECT 1",
  "DROP TABLE sales",
  "ALTER TABLE sales ADD COLUMN x INT",
  "TRUNCATE TABLE sales",
  "REFRESH TABLE sales",
  "OPTIMIZE sales",
  "CALL procedure()",
  "SET x = 1",
  "BEGIN SELECT 1; END",
  "SELECTED",
  // The first word reads, and the statement writes.
  "WITH t AS (SELECT 1) INSERT INTO sales SELECT * FROM t",
  "WITH t AS (DELETE FROM sales RETURNING *) SELECT * FROM t",
  "WITH t AS (SELECT 1) MERGE INTO sales USING t ON true WHEN MATCHED THEN UPDATE SET x = 1",
  "FROM sales INSERT OVERWRITE TABLE a SELECT x INSERT INTO b SELECT y",
  "FROM sales INSERT OVERWRITE TABLE a SELECT x",
  "WITH t AS (SELECT 1) MERGE sales USING t ON true WHEN NOT MATCHED THEN DO NOTHING",
  "SELECT * INTO copied FROM sales",
  "SELECT * FROM sales FOR UPDATE",
  "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
  "EXPLAIN (ANALYSE) EXECUTE prepared",
  // Several statements.
  "SELECT 1; DROP TABLE sales",
  "SELECT 1;;",
  "SELECT ';'",
  // Where the comment or the string ends depends on the dialect.
  "/* /* */ SELECT 1 */ DROP TABLE sales",
  "-- a\\\nSELECT 1\nDROP TABLE sales",
  "-- a\rDROP TABLE sales\nSELECT 1",
  "/* SELECT 1",
  "SELECT 'a\\'; DROP TABLE sales --'",
  "SELECT 'a\\' FROM t /* ' */ INTO x",
  // It calls what may write.
  "SELECT nextval('numbers')",
  "SELECT main.sales.book(1)",
  "SELECT count(*), book (1) FROM sales",
  "SELECT * FROM book(1) AS t(a)",
  "SELECT 1 WHERE book(1) IS NULL",
  "WITH t AS (SELECT book(1) AS x) SELECT * FROM t",
  "VALUES (book(1))",
  "SELECT book\n\t(1)",
  "SELECT http_request(conn => 'x')",
  "SELECT ai_query('model', 'text')",
  "SELECT java_method('a.B', 'c')",
  "SELECT ƒ(1)",
  // Its name is that of a built-in function, and it is another.
  "SELECT main.count(1)",
  'SELECT "count"(1)',
  "SELECT `count`(1)",
  // Its name is not what stands before the parenthesis.
  "SELECT book/* */(1)",
  "SELECT book -- of today\n (1)",
  "SELECT IDENTIFIER('book')(1)",
  "SELECT (book)(1)",
  // What looks like an alias ends a comment.
  "SELECT -- AS\n book(1)",
  "SELECT -- )\n book(1)"
]

describe("isReadOnly", () => {
  it.each(reading)("returns true for %j", (text) => assert.isTrue(isReadOnly(text)))
})

describe("isReadOnly", () => {
  it.each(writing)("returns false for %j", (text) => assert.isFalse(isReadOnly(text)))
})
