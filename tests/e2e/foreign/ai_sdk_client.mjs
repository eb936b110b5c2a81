// What the Vercel AI SDK makes of the gateway, as one JSON object: each scenario with its result and its requests' ids.
//
// A scenario runs in each of the SDK's ways to speak.    AGG_URL AGG_KEY SIM_MODEL SIM_EMBEDDING REAL_MODEL

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embed, embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const { AGG_URL, AGG_KEY, SIM_MODEL, SIM_EMBEDDING, REAL_MODEL } = process.env;
const CALLS = { weather: { city: "Paris" }, population: { city: "Oslo" } };
const Person = z.object({ name: z.string(), age: z.number() });

/** Providers that note their requests' ids, and add `members` to every request. */
function providers(ids, members) {
  const fetching = async (url, init) => {
    const body = JSON.stringify({ ...JSON.parse(init.body), ...members });
    const answer = await fetch(url, { ...init, body });
    ids.push(answer.headers.get("x-request-id"));
    return answer;
  };
  const options = { apiKey: AGG_KEY, baseURL: `${AGG_URL}/v1`, fetch: fetching };
  const openai = createOpenAI(options);
  const anthropic = createAnthropic(options);
  const compatible = createOpenAICompatible({
    ...options,
    name: "gateway",
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  return { openai, compatible, anthropic };
}

/** How each is used against a gateway that stores nothing, with its thoughts to be read. */
const SPEAKERS = {
  chat: { speak: ({ openai }, name) => openai.chat(name) },
  responses: {
    speak: ({ openai }, name) => openai.responses(name),
    providerOptions: { openai: { forceReasoning: true, store: false } },
  },
  compatible: { speak: ({ compatible }, name) => compatible.chatModel(name) },
  anthropic: {
    speak: ({ anthropic }, name) => anthropic(name),
    providerOptions: { anthropic: { thinking: { type: "adaptive", display: "summarized" } } },
  },
};

const city = z.object({ city: z.string() });
const tools = {
  weather: tool({ description: "The weather somewhere", inputSchema: city, execute: async ({ city }) => `${city}: rain` }),
  population: tool({ inputSchema: city, execute: async ({ city }) => ({ city, people: 700_000 }) }),
};

function summary({ text, finishReason, usage, reasoningText }) {
  const { inputTokens, outputTokens, totalTokens, outputTokenDetails } = usage;
  const reasoningTokens = outputTokenDetails.reasoningTokens;
  return { text, finishReason, reasoningText, usage: { inputTokens, outputTokens, totalTokens, reasoningTokens } };
}

/** All of a stream: its result's promises, the pieces of its text, and what went wrong in it. */
async function streamed(options) {
  const errors = [];
  const result = streamText({ maxRetries: 0, ...options, onError: ({ error }) => errors.push(told(error)) });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  if (errors.length) return { pieces, errors };
  const names = ["text", "finishReason", "usage", "reasoningText", "toolCalls", "steps"];
  const values = await Promise.all(names.map((name) => result[name]));
  const whole = Object.fromEntries(names.map((name, index) => [name, values[index]]));
  return { ...whole, pieces };
}

const called = ({ toolCalls }) => toolCalls.map(({ toolName, input }) => [toolName, input]);

function told(error) {
  const { name, message, statusCode, isRetryable } = error;
  return { name, message, statusCode, isRetryable, isApiCallError: APICallError.isInstance(error) };
}

async function failureOf(promise) {
  try {
    await promise;
  } catch (error) {
    return told(error);
  }
}

function loop({ text, steps }) {
  return { text, called: steps.map(called), reasoning: steps.map(({ reasoningText }) => reasoningText) };
}

const hello = { prompt: "Hello", maxOutputTokens: 12 };
const asked = { prompt: "How is it there?", tools, stopWhen: isStepCount(1) };
const going = { ...asked, stopWhen: isStepCount(3) };
const person = { prompt: "Who wrote the first program?", output: Output.object({ schema: Person }) };

/** What each speaker is asked: `members` are added to its requests, `thinks` uses its options for thoughts. */
const SPOKEN = {
  whole: { ask: async (model) => summary(await generateText({ model, ...hello })) },
  stream: {
    ask: async (model) => {
      const result = await streamed({ model, ...hello });
      return { ...summary(result), pieces: result.pieces };
    },
  },
  tools: {
    members: { sim: { calls: CALLS } },
    ask: async (model) => {
      const result = await generateText({ model, ...asked });
      return { called: called(result), finishReason: result.finishReason };
    },
  },
  "streamed tools": {
    members: { sim: { calls: CALLS } },
    ask: async (model) => {
      const result = await streamed({ model, ...asked });
      return { called: called(result), finishReason: result.finishReason };
    },
  },
  reasoning: {
    thinks: { reasoning: "medium" },
    ask: async (model, thinking) => summary(await generateText({ model, ...hello, ...thinking })),
  },
  "streamed reasoning": {
    thinks: { reasoning: "medium" },
    ask: async (model, thinking) => summary(await streamed({ model, ...hello, ...thinking })),
  },
  "unknown model": { model: "sim/nobody", ask: (model) => failureOf(generateText({ model, ...hello })) },
  refusal: {
    members: { sim: { fail: "refuse" } },
    ask: (model) => failureOf(generateText({ model, ...hello, maxRetries: 0 })),
  },
  "cut stream": { members: { sim: { fail: "cut" } }, ask: (model) => streamed({ model, ...hello }) },
  loop: {
    model: REAL_MODEL,
    thinks: { reasoning: "low" },
    ask: async (model, thinking) => loop(await generateText({ model, ...going, ...thinking })),
  },
  "streamed loop": {
    model: REAL_MODEL,
    thinks: { reasoning: "low" },
    ask: async (model, thinking) => loop(await streamed({ model, ...going, ...thinking })),
  },
  conversation: {
    model: REAL_MODEL,
    thinks: { reasoning: "low" },
    ask: async (model, thinking) => {
      const question = { role: "user", content: "Hello" };
      const { responseMessages } = await generateText({ model, messages: [question], ...thinking });
      const again = { role: "user", content: "And now?" };
      return (await generateText({ model, messages: [question, ...responseMessages, again], ...thinking })).text;
    },
  },
  object: {
    model: REAL_MODEL,
    ask: async (model) => (await generateText({ model, ...person })).output,
  },
  "streamed object": {
    model: REAL_MODEL,
    ask: async (model) => {
      const partials = [];
      for await (const partial of streamText({ model, ...person }).partialOutputStream) partials.push(partial);
      return partials;
    },
  },
};

/** With the SDK's own settings it refers to what it thinks is stored. */
async function storedLoop({ openai }) {
  const providerOptions = { openai: { forceReasoning: true } };
  return failureOf(generateText({ model: openai.responses(REAL_MODEL), ...going, reasoning: "low", providerOptions }));
}

const EMBEDDED = {
  openai: ({ openai }) => openai.embeddingModel(SIM_EMBEDDING),
  compatible: ({ compatible }) => compatible.embeddingModel(SIM_EMBEDDING),
};

async function embedded(model) {
  const one = await embed({ model, value: "a" });
  const many = await embedMany({ model, values: ["a", "b", "c"] });
  return { one: one.embedding, many: many.embeddings, tokens: many.usage.tokens };
}

async function outcome(members, scenario) {
  const ids = [];
  try {
    return { result: await scenario(providers(ids, members)), request_ids: ids };
  } catch (error) {
    return { failed: `${error.stack}\n${error.responseBody ?? ""}`, request_ids: ids };
  }
}

const outcomes = {};
for (const [name, { ask, model = SIM_MODEL, members, thinks }] of Object.entries(SPOKEN)) {
  for (const [speaker, { speak, providerOptions }] of Object.entries(SPEAKERS)) {
    const thinking = { ...thinks, providerOptions };
    outcomes[`${speaker}: ${name}`] = await outcome(members, (made) => ask(speak(made, model), thinking));
  }
}
for (const [speaker, speak] of Object.entries(EMBEDDED)) {
  outcomes[`${speaker}: embeddings`] = await outcome({}, (made) => embedded(speak(made)));
}
outcomes["responses: stored loop"] = await outcome({}, storedLoop);
process.stdout.write(JSON.stringify(outcomes));
