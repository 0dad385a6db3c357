/** The types of ai/LanguageModel and ai/EmbeddingModel: a user's Layer compiles only in a user's call. */
import { Effect, ExecutionPlan, type Layer } from "effect"
import { type AiError, EmbeddingModel, LanguageModel, type Model } from "effect/ai"
import { asUser, type ModelServing, type ServiceContext, type UserContext } from "effect-databricks"
import * as DatabricksEmbeddingModel from "effect-databricks/ai/EmbeddingModel"
import * as DatabricksLanguageModel from "effect-databricks/ai/LanguageModel"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const isTrue = <T extends true>(): T | void => undefined

type Serving = ModelServing.ModelServing

const model = DatabricksLanguageModel.model("claude", { max_tokens: 5, thinking: { type: "enabled" } })
const user = DatabricksLanguageModel.user("claude")
isTrue<Equal<typeof model, Model.Model<"databricks", LanguageModel.LanguageModel, Serving>>>()
isTrue<Equal<Layer.Services<typeof user>, Serving | UserContext>>()

const text = LanguageModel.generateText({ prompt: "Hi" })
const asCaller = Effect.provide(text, model)
isTrue<Equal<Effect.Services<typeof asCaller>, Serving>>()
isTrue<Equal<Effect.Error<typeof asCaller>, AiError.AiError>>()
const asTheUser = Effect.provide(text, user)
isTrue<Equal<Effect.Services<typeof asTheUser>, Serving | UserContext>>()
const inACall = Effect.provide(asTheUser, asUser({}))
isTrue<Equal<Effect.Services<typeof inACall>, Serving | ServiceContext.ServiceContext>>()

const planned = Effect.withExecutionPlan(text, ExecutionPlan.make({ provide: user }, { provide: model }))
isTrue<Equal<Effect.Services<typeof planned>, Serving | UserContext>>()

const overridden = DatabricksLanguageModel.withConfigOverride(asTheUser, { temperature: 0 })
isTrue<Equal<typeof overridden, typeof asTheUser>>()

// @ts-expect-error the prompt decides on the messages
DatabricksLanguageModel.model("claude", { messages: [] })
// @ts-expect-error a response has one choice
DatabricksLanguageModel.model("claude", { n: 2 })
// @ts-expect-error a number
DatabricksLanguageModel.model("claude", { max_tokens: "5" })

const vectors = EmbeddingModel.EmbeddingModel.use((_) => _.embed("a"))
const embedded = Effect.provide(vectors, DatabricksEmbeddingModel.user("gte", { dimensions: 3 }))
isTrue<Equal<Effect.Services<typeof embedded>, Serving | UserContext>>()
// @ts-expect-error a Model has Dimensions
DatabricksEmbeddingModel.model("gte", {})
