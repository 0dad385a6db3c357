-- The owner has the collation of current_user: with another, the policy reads the whole table and not the index.
CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner text COLLATE "C" NOT NULL DEFAULT current_user,
  item text NOT NULL CHECK (length(item) BETWEEN 1 AND 200),
  amount integer NOT NULL CHECK (amount > 0),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_of_owner ON orders (owner, id);
-- Postgres does not hold the owner of a table to its policies: the service principal sees every row.
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders USING (owner = current_user) WITH CHECK (owner = current_user);
GRANT USAGE ON SCHEMA desk TO PUBLIC;
-- INSERT does not include the owner: a user cannot choose it.
GRANT SELECT, INSERT (item, amount) ON orders TO PUBLIC;
