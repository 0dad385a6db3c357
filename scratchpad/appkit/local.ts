/** The local workspace of this application: its tables, and scripts in place of Genie, the model, the index and the job. */
import {
  type LocalGenie,
  type LocalJobs,
  type LocalMetricView,
  type LocalSearch,
  LocalServing
} from "effect-databricks/testing"
import { DateTime, Effect } from "effect"

/** Users see their own sales and readings; bob has fewer of both. */
export const seed = `
  CREATE SCHEMA shop;
  CREATE TABLE shop.sales (id int, day date, region text, product text, amount int, seller text COLLATE "C");
  INSERT INTO shop.sales VALUES
    (1, '2026-09-01', 'North', 'Tea', 12, 'alice@example.com'), (2, '2026-09-14', 'South', 'Coffee', 7, 'alice@example.com'),
    (3, '2026-10-02', 'North', 'Coffee', 4, 'alice@example.com'), (4, '2026-10-20', 'East', 'Tea', 30, 'alice@example.com'),
    (5, '2026-09-03', 'West', 'Cocoa', 9, 'bob@example.com'), (6, '2026-11-11', 'East', 'Tea', 21, 'bob@example.com');
  CREATE TABLE shop.readings (minute timestamptz, celsius float8, owner text COLLATE "C");
  INSERT INTO shop.readings
    SELECT '2026-10-01Z'::timestamptz + n * interval '1 minute', 18 + 6 * sin(n / 230.0) + sin(n / 7.0), owner
    FROM (VALUES ('alice@example.com', 24000), ('bob@example.com', 21000)) AS people(owner, minutes),
      generate_series(1, minutes) AS n;
  CREATE TABLE shop.products (product text, price numeric(10,2));
  INSERT INTO shop.products VALUES ('Tea', 3.50), ('Coffee', 4.20), ('Cocoa', 4.80);
  CREATE TABLE shop.articles (id int, title text, body text);
  INSERT INTO shop.articles VALUES
    (1, 'How to brew tea', 'Three minutes in water of 90 degrees.'), (2, 'How to roast coffee', 'Twelve minutes at 220 degrees.'),
    (3, 'How to store tea', 'Dry, dark and cool.'), (4, 'How to serve cocoa', 'Hot, with milk.');
  ALTER TABLE shop.sales ENABLE ROW LEVEL SECURITY;
  ALTER TABLE shop.readings ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON shop.sales USING (seller = current_user);
  CREATE POLICY own ON shop.readings USING (owner = current_user);
  GRANT USAGE ON SCHEMA shop TO PUBLIC;
  GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC;
`

export const metricView: LocalMetricView.View = {
  source: "main.shop.sales_metrics",
  from: "shop.sales",
  measures: {
    revenue: {
      expression: "sum(amount)",
      displayName: "Revenue",
      comment: "The sum of all sales",
      format: { currency: { currency_code: "USD", decimal_places: { type: "exact", places: 2 } } }
    },
    orders: { expression: "count(*)", displayName: "Orders" }
  },
  dimensions: { region: { expression: "region", displayName: "Region" }, day: "day" }
}

const regions = "How much did I sell in each region?"
const best = "Which was my largest sale?"

const answers: Readonly<Record<string, LocalGenie.Answer>> = {
  [regions]: {
    text: "These are your sales by **region**, the largest first.",
    title: "Sales by region",
    sql: "SELECT region, sum(amount) AS amount FROM shop.sales GROUP BY region ORDER BY amount DESC",
    suggestedQuestions: [best]
  },
  [best]: {
    text: "This is your largest sale.",
    title: "Largest sale",
    sql: "SELECT region, product, amount FROM shop.sales ORDER BY amount DESC LIMIT 1"
  }
}

export const space: LocalGenie.Space = {
  spaceId: "01ef00000000000000000000000000ab",
  title: "Sales",
  answer: (question) => ({
    statuses: ["ASKING_AI", "EXECUTING_QUERY"],
    ...(answers[question] ?? { text: `This space is a script. Ask: “${regions}” or “${best}”` })
  })
}

/** A chat model that counts, so that a missing or repeated piece shows, and its calls, so that a repeated one shows. */
export const model: LocalServing.Endpoint = LocalServing.chat(({ messages }, { user }) =>
  Effect.map(model.calls, (calls) => {
    const call = calls.filter((_) => _.user === user).length
    const numbers = Array.from({ length: 60 }, (_, n) => n + 1).join(" ")
    const question = String(messages.at(-1)?.content)
    return { delay: "20 millis", text: `Call ${call} of ${user}: you said “${question}”. I count: ${numbers}.` }
  })
)

export const index: LocalSearch.Index = {
  source: "TABLE shop.articles",
  primaryKey: "id",
  text: ["title", "body"],
  pageSize: 2
}

export const job: LocalJobs.JobDefinition = {
  id: "1121234567890123499",
  name: "report",
  parameters: { day: "" },
  startTime: "1 second",
  tasks: [
    {
      key: "report",
      run: ({ parameters: { day = "" } }) =>
        Effect.gen(function* () {
          yield* Effect.sleep("2 seconds")
          const today = DateTime.formatIsoDateUtc(yield* DateTime.now)
          return day <= today ? `${day}: 3 sales` : yield* Effect.fail(`There are no sales of ${day} yet`)
        })
    }
  ]
}
