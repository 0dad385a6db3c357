-- Runs once, as the app's service principal, which owns the schema and therefore sees every row.
CREATE TABLE expenses.expenses (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- The collation of current_user: with another one the policy cannot use the index.
  owner text COLLATE "C" NOT NULL DEFAULT current_user,
  category text NOT NULL,
  description text NOT NULL,
  cents integer NOT NULL CHECK (cents > 0),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX expenses_of_owner ON expenses.expenses (owner, id);

-- Each user sees and adds their own rows. They cannot set the owner: INSERT is granted on the other columns only.
ALTER TABLE expenses.expenses ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON expenses.expenses USING (owner = current_user) WITH CHECK (owner = current_user);
GRANT USAGE ON SCHEMA expenses TO PUBLIC;
GRANT SELECT, INSERT (category, description, cents) ON expenses.expenses TO PUBLIC;
