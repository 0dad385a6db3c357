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
  "SELECT replace(name, 'a', 'b') FROM sales WHERE word = 'created'"
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
  "SELECT 'a\\' FROM t /* ' */ INTO x"
]

describe("isReadOnly", () => {
  it.each(reading)("returns true for %j", (text) => assert.isTrue(isReadOnly(text)))
})

describe("isReadOnly", () => {
  it.each(writing)("returns false for %j", (text) => assert.isFalse(isReadOnly(text)))
})
