import { Effect, Exit } from "effect"
import { type FormEvent, type ReactNode, StrictMode, useState } from "react"
import { createRoot } from "react-dom/client"
import { Category } from "../src/Api.ts"
import { call, messageOf, useCall } from "./client.ts"

const me = call(({ mine }) => mine.me())
const expenses = call(({ mine }) => mine.expenses())
const fares = call(({ mine }) => mine.fares())
const totals = call(({ everyone }) => everyone.totals())

const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" })

/** Shows the result of a call, or the message of its failure. */
const Answer = <A, E>(props: { of: Exit.Exit<A, E> | undefined; children: (value: A) => ReactNode }) =>
  props.of === undefined ? (
    <p className="quiet">Loading …</p>
  ) : Exit.isSuccess(props.of) ? (
    props.children(props.of.value)
  ) : (
    <p role="alert">{messageOf(props.of.cause)}</p>
  )

const Table = (props: { head: ReadonlyArray<string>; rows: ReadonlyArray<ReadonlyArray<string | number | null>> }) =>
  props.rows.length === 0 ? (
    <p className="quiet">None yet.</p>
  ) : (
    <table>
      <thead>
        <tr>
          {props.head.map((name) => (
            <th key={name}>{name}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map((row, index) => (
          <tr key={index}>
            {row.map((value, column) => (
              <td key={column}>{value}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )

const Add = ({ onAdded }: { onAdded: () => void }) => {
  const [problem, setProblem] = useState("")
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = event.currentTarget
    const fields = new FormData(form)
    const payload = {
      category: Category.make(fields.get("category") as typeof Category.Type), // one of the options below
      description: String(fields.get("description")),
      cents: Math.round(Number(fields.get("dollars")) * 100)
    }
    const exit = await Effect.runPromiseExit(call(({ mine }) => mine.add({ payload })))
    setProblem(Exit.isSuccess(exit) ? "" : messageOf(exit.cause))
    if (Exit.isFailure(exit)) return
    form.reset()
    onAdded()
  }
  return (
    <form onSubmit={submit}>
      <input name="description" placeholder="Taxi to the airport" aria-label="Description" maxLength={100} required />
      <select name="category" aria-label="Category">
        {Category.literals.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
      <input name="dollars" type="number" min="0.01" step="0.01" placeholder="42.00" aria-label="Dollars" required />
      <button>Add</button>
      {problem !== "" && <p role="alert">{problem}</p>}
    </form>
  )
}

const Page = () => {
  const [added, setAdded] = useState(0)
  return (
    <>
      <header>
        <h1>Expenses</h1>
        <Answer of={useCall(me)}>{({ userName }) => <p className="quiet">{userName}</p>}</Answer>
      </header>
      <section id="mine">
        <h2>
          Mine <small>as me, in Lakebase</small>
        </h2>
        <Add onAdded={() => setAdded(added + 1)} />
        <Answer of={useCall(expenses, added)}>
          {(rows) => (
            <Table
              head={["Description", "Category", "Amount"]}
              rows={rows.map((_) => [_.description, _.category, money.format(_.cents / 100)])}
            />
          )}
        </Answer>
      </section>
      <section id="everyone">
        <h2>
          Everyone’s <small>as the app, totals only</small>
        </h2>
        <Answer of={useCall(totals, added)}>
          {(rows) => (
            <Table
              head={["Category", "People", "Amount"]}
              rows={rows.map((_) => [_.category, _.people, money.format(_.cents / 100)])}
            />
          )}
        </Answer>
      </section>
      <section id="fares">
        <h2>
          Taxi fares <small>as me, in the SQL warehouse</small>
        </h2>
        <Answer of={useCall(fares)}>
          {(rows) => (
            <Table
              head={["Up to miles", "Trips", "Average"]}
              rows={rows.map((_) => [_.miles, _.trips, _.average === null ? null : money.format(_.average)])}
            />
          )}
        </Answer>
      </section>
    </>
  )
}

createRoot(document.getElementById("page")!).render(
  <StrictMode>
    <Page />
  </StrictMode>
)
