/** What the workspace has for the users: a volume each, a Genie space, a model and a job; the ledgers record what runs. */
import { type LocalGenie, LocalServing, type LocalWorkspace } from "effect-databricks/testing"
import { Effect } from "effect"
import { homeOf, jobId, model, spaceId } from "./Api.ts"
import type { Soak } from "./journal.ts"

type Ledgers = Pick<Soak["Service"], "questions" | "chats" | "runs">

/** Row-level security leaves the rows of the user who asks. */
const sql = `
  SELECT current_user AS caller, count(*)::int AS total,
    (SELECT coalesce(json_agg(json_build_object('owner', owner, 'key', key)), '[]')
      FROM (SELECT owner, key FROM desk.orders ORDER BY id DESC LIMIT 20) AS last)::text AS last
  FROM desk.orders`

/** The manners in which Genie answers: those with an answer come first. */
const answers = {
  soon: { sql, statuses: [] },
  later: { sql },
  failed: { error: { type: "GENERIC_CHAT_COMPLETION_EXCEPTION", error: "The model has no answer" } },
  cancelled: { end: "CANCELLED" },
  expired: { sql, end: "QUERY_RESULT_EXPIRED" },
  endless: { end: "NEVER" }
} as const satisfies Record<string, LocalGenie.Answer>

const refusal = LocalServing.refuse(429, "Too many requests", { retryAfter: 1 })

/** The manners in which the model answers. */
const turns = {
  whole: {},
  slow: { delay: "100 millis" },
  endless: { delay: "100 millis" },
  refused: {},
  cut: { breaks: { after: 3, with: "cut" } },
  stalled: { breaks: { after: 3, with: "stall" } },
  ended: { breaks: { after: 3, with: "end" } },
  failed: { breaks: { after: 3, with: LocalServing.refuse(503, "The model has stopped") } }
} as const satisfies Record<string, Omit<LocalServing.Turn, "text">>

export type Answering = keyof typeof answers
export type Chatting = keyof typeof turns

/** The model's answer, which differs for each user and prompt. */
export const textOf = (user: string, key: string, manner: Chatting): string =>
  Array.from({ length: manner === "endless" ? 3_000 : 24 }, (_, word) => `${user}/${key}/${word}`).join(" ")

const promptOf = (text: string) => text.split(" ") as [key: string, manner: string] // the application sends no other

export const optionsOf = (
  users: ReadonlyArray<string>,
  { chats, questions, runs }: Ledgers
): LocalWorkspace.Options => {
  /** The prompts that were refused once. */
  const refused = new Set<string>()
  return {
    users: users.map((userName) => ({ userName })),
    maxConnections: 200,
    files: { volumes: users.map((user) => ({ path: homeOf(user), readers: [user], writers: [user] })) },
    genie: [
      {
        spaceId,
        answer: (question) => {
          const [key, manner] = promptOf(question)
          questions.reached(key)
          return answers[manner as Answering] // the users send no other
        }
      }
    ],
    serving: {
      [model]: LocalServing.chat(({ messages }, { user }) => {
        const [key, manner] = promptOf(String(messages[0]?.content)) as [string, Chatting] // the users send no other
        if (manner === "refused" && !refused.has(key)) {
          refused.add(key)
          return refusal
        }
        chats.reached(key, user)
        const text = textOf(user, key, manner)
        return { text, pieceLength: Math.ceil(text.length / (manner === "endless" ? 3_000 : 12)), ...turns[manner] }
      })
    },
    jobs: [
      {
        id: jobId,
        name: "report",
        users: ["service"],
        tasks: [
          {
            key: "report",
            run: ({ parameters: { key = "", owner = "" } }) => Effect.sync(() => void runs.reached(key, owner))
          }
        ]
      }
    ]
  }
}
