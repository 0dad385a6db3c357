/** The users of the workspace, their data, and hence the responses that every server must send. */

export const userName = (index: number) => `user${index}@example.com`

const rowsEach = 10

/**
 * Ten orders for each of the users, who see only their own.
 *
 * `current_user` is a `name`, whose collation is "C": an index of any other would not serve the policy.
 */
export const script = (users: number) => `
  CREATE SCHEMA desk;
  CREATE TABLE desk.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    item text NOT NULL,
    amount integer NOT NULL
  );
  INSERT INTO desk.orders (owner, item, amount)
    SELECT 'user' || u || '@example.com', 'item ' || n || ' of user' || u, n
    FROM generate_series(0, ${users - 1}) AS u, generate_series(1, ${rowsEach}) AS n;
  CREATE INDEX ON desk.orders (owner, id);
  ALTER TABLE desk.orders ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON desk.orders USING (owner = current_user);
  GRANT USAGE ON SCHEMA desk TO PUBLIC;
  GRANT SELECT ON desk.orders TO PUBLIC;
  ANALYZE desk.orders`

export const query = "SELECT item, amount FROM desk.orders ORDER BY id"

const rows = Array.from({ length: rowsEach }, (_, index) => index + 1)

/** The body of `GET /orders`, by way of Lakebase. */
export const orders = (user: number) =>
  JSON.stringify(rows.map((n) => ({ item: `item ${n} of user${user}`, amount: n })))

const sales = (userName: string) => rows.map((n) => [`item ${n}`, `region of ${userName}`])

/** The body of `GET /sales` and `GET /cached`, by way of the warehouse. */
export const salesOf = (user: number) =>
  JSON.stringify(sales(userName(user)).map(([item, region]) => ({ item, region })))

/** The response of the warehouse to this user's query of sales. */
export const statement = (userName: string) => ({
  statement_id: "01ef0000-0000-4000-8000-000000000000",
  status: { state: "SUCCEEDED" },
  manifest: {
    format: "JSON_ARRAY",
    schema: {
      column_count: 2,
      columns: [
        { name: "item", type_text: "STRING", type_name: "STRING", position: 0 },
        { name: "region", type_text: "STRING", type_name: "STRING", position: 1 }
      ]
    },
    total_chunk_count: 1,
    chunks: [{ chunk_index: 0, row_offset: 0, row_count: rowsEach }],
    total_row_count: rowsEach,
    truncated: false
  },
  result: { chunk_index: 0, row_offset: 0, row_count: rowsEach, data_array: sales(userName) }
})

/** The body of `GET /health`. */
export const health = '{"status":"ok"}'
