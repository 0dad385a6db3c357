/** The Genie space of the local workspace, and its table, in which users see their own sales. */
import type { LocalGenie } from "effect-databricks/testing"

export const seed = `
  CREATE TABLE sales (region text, seller text COLLATE "C", amount int);
  INSERT INTO sales VALUES
    ('North', 'alice@example.com', 12), ('South', 'alice@example.com', 7), ('North', 'alice@example.com', 4),
    ('West', 'bob@example.com', 9), ('East', 'bob@example.com', 21);
  ALTER TABLE sales ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON sales USING (seller = current_user);
  GRANT SELECT ON sales TO PUBLIC;
`

const regions = "How much did I sell in each region?"
const best = "And which was the largest sale?"
const secret = "What does everyone earn?"

const answers: Readonly<Record<string, LocalGenie.Answer>> = {
  [regions]: {
    text: "These are your sales by region, the largest first.",
    title: "Sales by region",
    sql: "SELECT region, sum(amount) AS amount\nFROM sales\nGROUP BY region\nORDER BY amount DESC",
    suggestedQuestions: [best, secret]
  },
  [best]: {
    text: "This is your largest sale.",
    title: "Largest sale",
    sql: "SELECT region, amount\nFROM sales\nORDER BY amount DESC\nLIMIT 1",
    suggestedQuestions: [regions]
  },
  [secret]: {
    error: {
      type: "INVALID_TABLE_IDENTIFIER_EXCEPTION",
      error: "This space has no table of salaries. Ask about sales."
    }
  }
}

const unknown: LocalGenie.Answer = {
  text: "This space is a local one, with a script. It can answer these questions.",
  suggestedQuestions: [regions, best, secret]
}

export const space: LocalGenie.Space = {
  spaceId: "01ef00000000000000000000000000aa",
  title: "Sales",
  answer: (question) => ({ statuses: ["ASKING_AI"], ...(answers[question] ?? unknown) })
}
