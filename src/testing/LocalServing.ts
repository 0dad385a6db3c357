/**
 * Serving endpoints of a local workspace: functions from the body of a request to its response, models that chat by a
 * script, and embeddings.
 *
 * ```ts
 * import { LocalServing, LocalWorkspace } from "effect-databricks/testing"
 *
 * const model = LocalServing.chat([
 *   { toolCalls: [{ name: "sales", arguments: { region: "EMEA" } }] },
 *   { text: "EMEA sold 12 units." }
 * ])
 *
 * export const Workspace = LocalWorkspace.layer({
 *   serving: { model, price: LocalServing.endpoint(() => ({ predictions: [42] })) }
 * })
 *
 * // The bodies that it got, in order of arrival.
 * export const asked = model.calls
 * ```
 *
 * @since 0.1.0
 */
import { type Duration, Effect, Schema, Stream } from "effect"
import * as ChatCompletion from "../ChatCompletion.ts"
import * as Chat from "./localWorkspace/serving/chat.ts"
import { type Answer, Refusal } from "./localWorkspace/serving/answers.ts"

export {
  /**
   * A response that is not a 2xx.
   *
   * @category models
   * @since 0.1.0
   */
  type Refusal
} from "./localWorkspace/serving/answers.ts"

/**
 * A call of an endpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  /** The body of the request. */
  readonly body: unknown
  /** The body as it arrived. */
  readonly text: string
  /** The user name of the caller, which is the client id of a service principal. */
  readonly user: string
  /** The served model that the request's path names. */
  readonly servedModel: string | undefined
}

/**
 * The state of an endpoint, as the workspace reports it.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly ready: "READY" | "NOT_READY"
  /** Defaults to `NOT_UPDATING`. */
  readonly configUpdate?: "NOT_UPDATING" | "IN_PROGRESS" | "UPDATE_FAILED" | "UPDATE_CANCELED"
}

/**
 * The options of an endpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The user names that may query the endpoint. Everybody by default; other callers get a 403. */
  readonly users?: ReadonlyArray<string>
  /** The names of its served models. One by default, `model-1`. */
  readonly servedModels?: ReadonlyArray<string>
  /** The states that successive requests for its state get; the last one stays. Ready by default. */
  readonly states?: ReadonlyArray<State>
  /** The number of bytes in each write of a stream. By default each event is one write. */
  readonly bytesPerWrite?: number
}

/**
 * An endpoint, and the calls that it got.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint {
  readonly options: Options
  /** The task that the workspace reports, such as `llm/v1/chat`. */
  readonly task: string | undefined
  /** Answers a call, which it records. */
  readonly answer: (call: Call) => Effect.Effect<Answer, Refusal>
  /** The calls that callers with permission have made, in order of arrival. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
}

/**
 * One response of a chat model: text, tool calls, or both.
 *
 * @category models
 * @since 0.1.0
 */
export interface Turn {
  /** A stream sends it in pieces of `pieceLength`. */
  readonly text?: string
  /** A summary of the model's reasoning, which comes before the text. */
  readonly reasoning?: string
  /** The signature of the reasoning, which a stream sends after it. */
  readonly signature?: string
  /** Parallel calls of tools. `arguments` are written as JSON, or sent as they are if they are text. */
  readonly toolCalls?: ReadonlyArray<{ readonly name: string; readonly arguments?: unknown; readonly id?: string }>
  /** Defaults to `tool_calls` if there are some, else to `stop`. */
  readonly finishReason?: string
  /** Defaults to a quarter of the characters. */
  readonly usage?: typeof ChatCompletion.Usage.Type
  /** The number of characters in one chunk. Defaults to 8. */
  readonly pieceLength?: number
  /** The wait before each chunk. */
  readonly delay?: Duration.Input
  /** Breaks the response after some chunks. A response that is not streamed has none. */
  readonly breaks?: {
    /** Defaults to 0. */
    readonly after?: number
    /**
     * `cut` closes the connection, `stall` sends nothing more, `end` ends the stream without `[DONE]`, and a refusal is
     * an error inside the stream.
     */
    readonly with: "cut" | "stall" | "end" | Refusal
  }
}

type Result<A> = A | Refusal | Effect.Effect<A | Refusal, Refusal>

/**
 * Makes an endpoint that answers with the result of a function: JSON, or a `Stream` of the chunks of server-sent events.
 *
 * @category constructors
 * @since 0.1.0
 */
export const endpoint = (answer: (body: unknown, call: Call) => unknown, options: Options = {}): Endpoint =>
  recording(options, undefined, (call) =>
    Effect.map(run(answer(call.body, call)), (result): Answer =>
      Stream.isStream(result)
        ? {
            _tag: "Events",
            events: Stream.map(result as Stream.Stream<unknown>, (_) => JSON.stringify(_)),
            breaks: undefined
          } // a failing stream ends the response
        : { _tag: "Json", body: result, breaks: undefined }
    )
  )

/**
 * Makes a chat model, streaming or not. A list has one turn for each request; a function gets the request.
 *
 * It refuses (400) a request without messages, one whose tool calls and results do not match, and an empty message of
 * the assistant.
 *
 * @category constructors
 * @since 0.1.0
 */
export const chat = (
  script: ReadonlyArray<Turn | Refusal> | ((request: ChatCompletion.Request, call: Call) => Result<Turn>),
  options: Options = {}
): Endpoint => {
  let turns = 0
  const turnOf = (request: ChatCompletion.Request, call: Call): Result<Turn> =>
    typeof script === "function"
      ? script(request, call)
      : (script[turns++] ?? refuse(400, `The script of this model has ${script.length} turns, and this is another one`))
  return recording(options, "llm/v1/chat", (call) =>
    decodeRequest(call.body).pipe(
      Effect.mapError((error) => refuse(400, `Invalid request: ${error.message}`)),
      Effect.tap((request) => {
        const fault = Chat.faultOf(request)
        return fault === undefined ? Effect.void : Effect.fail(refuse(400, `Invalid request: ${fault}`))
      }),
      Effect.flatMap(
        (request) =>
          Effect.map(run(turnOf(request, call)), (turn) => Chat.answer(turn as Turn, request, isStreamed(call.body))) // run fails with a refusal
      )
    )
  )
}

/**
 * Makes an embedding model. By default equal texts have equal vectors of 8 numbers, of length 1.
 *
 * @category constructors
 * @since 0.1.0
 */
export const embeddings = (
  vectorOf: (text: string) => ReadonlyArray<number> = Chat.vectorOf,
  options: Options = {}
): Endpoint =>
  recording(options, "llm/v1/embeddings", (call) =>
    decodeInput(call.body).pipe(
      Effect.mapError((error) => refuse(400, `Invalid request: ${error.message}`)),
      Effect.map(({ input }): Answer => {
        const texts = typeof input === "string" ? [input] : input
        const data = texts.map((text, index) => ({ object: "embedding", index, embedding: vectorOf(text) }))
        const prompt_tokens = texts.reduce((sum, text) => sum + Chat.tokensOf(text), 0)
        const usage = { prompt_tokens, total_tokens: prompt_tokens }
        return { _tag: "Json", body: { object: "list", model: "local", data, usage }, breaks: undefined }
      })
    )
  )

/**
 * Makes a refusal: as a turn or result it is the response, and inside a stream an error event.
 *
 * @category constructors
 * @since 0.1.0
 */
export const refuse = (
  status: number,
  message: string,
  more: { readonly errorCode?: string; readonly retryAfter?: number } = {}
): Refusal => new Refusal({ status, message, ...more })

const run = (result: unknown): Effect.Effect<unknown, Refusal> =>
  Effect.flatMap(
    // The types of the constructors admit an Effect without requirements that fails with a refusal.
    Effect.isEffect(result) ? (result as Effect.Effect<unknown, Refusal>) : Effect.succeed(result),
    (value) => (value instanceof Refusal ? Effect.fail(value) : Effect.succeed(value))
  )

const recording = (options: Options, task: string | undefined, answer: Endpoint["answer"]): Endpoint => {
  const calls: Array<Call> = []
  return {
    options,
    task,
    answer: (call) =>
      Effect.suspend(() => {
        calls.push(call)
        return answer(call)
      }),
    calls: Effect.sync(() => [...calls])
  }
}

const isStreamed = (body: unknown) =>
  typeof body === "object" && body !== null && "stream" in body && body.stream === true

const decodeRequest = Schema.decodeUnknownEffect(ChatCompletion.Request)

const decodeInput = Schema.decodeUnknownEffect(
  Schema.Struct({ input: Schema.Union([Schema.String, Schema.Array(Schema.String)]) })
)
