// What the Vercel AI SDK can do with every family, through its provider for compatible hosts and its provider for OpenAI.

import assert from 'node:assert/strict';
import { before } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { INVOICE, PIXEL, all, caught, prompt } from './asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';

const CHAT = FAMILIES.chat;
const declare = suite('families', 'Vercel AI SDK', CHAT);
let baseURL;

before(async () => {
  ({ baseURL } = await Proxy.start('--debug'));
});

/** The model of either provider. */
const PROVIDERS = [
  (model) =>
    createOpenAICompatible({
      name: 'proxy',
      baseURL,
      apiKey: KEY,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(model),
  (model) => createOpenAI({ baseURL, apiKey: KEY }).chat(model),
];

/** A feature with each provider: `run` gets what the SDK's functions are called with, and the model's name. */
function feature(name, ...rest) {
  const run = rest.pop();
  declare(name, ...rest, async (model) => {
    for (const of of PROVIDERS) {
      const failures = [];
      const onError = ({ error }) => failures.push(error);
      await run({ model: of(model), maxRetries: 0, onError }, model);
      assert.deepEqual(failures, []);
    }
  });
}

const TOOLS = Object.fromEntries(
  [
    ['weather_of', 'weather', 'sunny'],
    ['time_in', 'time', 'noon'],
  ].map(([name, what, answer]) => [
    name,
    tool({
      description: `Tells the ${what} of a city`,
      inputSchema: z.object({ city: z.string() }),
      execute: () => answer,
    }),
  ]),
);
const BOTH = ['weather_of', 'time_in'];
const names = (calls) => calls.map((call) => call.toolName);

feature('chat', async (at, model) => {
  const { text, finishReason, response } = await generateText({ ...at, prompt: prompt('Hello there') });
  assert.match(text, /You said: "Hello there"\./);
  assert.deepEqual([finishReason, response.modelId], ['stop', model]);
});

feature('history', async (at) => {
  const messages = [
    { role: 'user', content: 'One' },
    { role: 'assistant', content: 'Two' },
    { role: 'user', content: prompt('Three') },
  ];
  assert.match((await generateText({ ...at, system: 'Be brief.', messages })).text, /Three/);
});

feature('settings', async (at) => {
  const usual = { temperature: 0.3, topP: 0.9, presencePenalty: 0.1, frequencyPenalty: 0.1, seed: 7 };
  assert.ok((await generateText({ ...at, ...usual, prompt: prompt('Hello') })).text);
});

feature('stream', async (at) => {
  const { text } = await generateText({ ...at, prompt: prompt('Hello') });
  const pieces = await all(streamText({ ...at, prompt: prompt('Hello') }).textStream);
  assert.equal(pieces.join(''), text);
  assert.ok(pieces.length > 1);
});

feature('usage', async (at) => {
  const { usage } = await generateText({ ...at, prompt: prompt('Count me') });
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  const streamed = await streamText({ ...at, prompt: prompt('Count me') }).usage;
  assert.deepEqual(
    [streamed.inputTokens, streamed.outputTokens],
    [usage.inputTokens, usage.outputTokens],
  );
});

feature('tools', { needs: 'tools' }, async (at) => {
  const { toolCalls, finishReason } = await generateText({ ...at, tools: TOOLS, prompt: prompt('Use time_in') });
  assert.deepEqual([names(toolCalls), finishReason], [['time_in'], 'tool-calls']);
  assert.ok('city' in toolCalls[0].input);
});

feature('parallel', { needs: 'tools' }, async (at) => {
  const streamed = streamText({ ...at, tools: TOOLS, prompt: prompt('Use weather_of and time_in') });
  assert.deepEqual(names(await streamed.toolCalls), BOTH);
});

/** An agent, whole and streamed, and then asked once more with all that was said. */
async function loop(at) {
  const messages = [{ role: 'user', content: prompt('Use weather_of and time_in') }];
  const request = { ...at, tools: TOOLS, stopWhen: stepCountIs(4), system: 'You are a weatherman.' };
  const whole = await generateText({ ...request, messages });
  assert.deepEqual(whole.steps.map((step) => names(step.toolCalls)), [BOTH, []]);
  assert.match(whole.text, /The tool says: sunny · noon/);
  const streamed = streamText({ ...request, messages });
  assert.equal((await streamed.steps).at(-1).text, whole.text);
  for (const { messages: said } of [whole.response, await streamed.response]) {
    const more = { role: 'user', content: prompt('Now time_in') };
    const again = await generateText({ ...request, messages: [...messages, ...said, more] });
    assert.match(again.text, /The tool says: noon/);
  }
  return whole;
}

feature('tool loop', { needs: 'tools' }, loop);

feature('tool choice', { needs: 'tools' }, async (at) => {
  const request = { ...at, tools: TOOLS, prompt: prompt('Hello') };
  for (const [toolChoice, expected] of [
    ['required', ['weather_of']],
    [{ type: 'tool', toolName: 'time_in' }, ['time_in']],
    ['none', []],
  ]) {
    assert.deepEqual(names((await generateText({ ...request, toolChoice })).toolCalls), expected);
  }
});

feature('vision', { needs: 'vision' }, async (at) => {
  const content = [
    { type: 'text', text: prompt('What is this?') },
    { type: 'image', image: PIXEL },
  ];
  const { text } = await generateText({ ...at, messages: [{ role: 'user', content }] });
  assert.match(text, /I see 1 image\./);
});

feature('json_schema', { needs: 'json_schema' }, async (at) => {
  const request = { ...at, output: Output.object({ schema: INVOICE }), prompt: prompt('An invoice') };
  const { output } = await generateText(request);
  assert.ok(INVOICE.safeParse(output).success);
  const parts = await all(streamText(request).partialOutputStream);
  assert.deepEqual(parts.at(-1), output);
});

feature('json_schema', { needs: 'tools' }, async (at) => {
  const output = Output.object({ schema: INVOICE });
  const request = { ...at, output, tools: TOOLS, stopWhen: stepCountIs(4), prompt: prompt('Use time_in') };
  const { steps, output: given } = await generateText(request);
  assert.deepEqual(steps.map((step) => names(step.toolCalls)), [['time_in'], []]);
  assert.ok(INVOICE.safeParse(given).success);
});

feature('json_object', { needs: 'json_object' }, async (at) => {
  const request = { ...at, output: Output.json(), prompt: prompt('Answer in JSON') };
  assert.equal(typeof (await generateText(request)).output, 'object');
});

const EFFORT = { providerOptions: { proxy: { reasoningEffort: 'low' }, openai: { reasoningEffort: 'low' } } };

feature('reasoning', async (at, model) => {
  const request = { ...at, ...EFFORT, maxOutputTokens: 4000, prompt: prompt('Think') };
  const { text, reasoningText, usage } = await generateText(request);
  assert.match(text, /You said: "Think"\./);
  const streamed = streamText(request);
  assert.deepEqual([await streamed.text, await streamed.reasoningText], [text, reasoningText]);
  // The provider for OpenAI does not know of reasoning that can be read.
  const reads = at.model.provider.startsWith('proxy');
  assert.equal(Boolean(reasoningText), reads && CHAT[model].reasons === 'shown');
  if (CHAT[model].reasons === 'unseen') assert.ok(usage.outputTokenDetails.reasoningTokens > 0);
});

feature('reasoning + tools', { needs: 'tools' }, async (at) => {
  await loop({ ...at, ...EFFORT, maxOutputTokens: 4000 });
});

feature('length', async (at) => {
  const { finishReason } = await generateText({ ...at, maxOutputTokens: 16, prompt: prompt('A tale') });
  assert.equal(finishReason, 'length');
});

feature('stop', { needs: 'stop' }, async (at) => {
  const request = { ...at, stopSequences: ['HALT'], prompt: prompt('Come HALT go') };
  const { text, finishReason } = await generateText(request);
  assert.deepEqual([text.trim(), finishReason], ['You said: "Come', 'stop']);
});

feature('errors', async (at) => {
  for (const status of [400, 429, 500]) {
    const ask = { ...at, prompt: prompt('Hello', `status=${status}`) };
    const error = await caught(APICallError, () => generateText(ask));
    assert.equal(error.statusCode, status);
    assert.ok(error.message && error.message !== 'Invalid JSON response');
  }
});

feature('errors in streams', async (at) => {
  for (const fault of ['error_after=40', 'cut_after=40']) {
    const failures = [];
    const onError = ({ error }) => failures.push(error);
    const words = prompt('Hello', `frames=500 pause_ms=1 ${fault}`);
    const { fullStream } = streamText({ ...at, prompt: words, onError });
    let text = '';
    try {
      for await (const piece of fullStream) text += piece.type === 'text-delta' ? piece.text : '';
    } catch (error) {
      failures.push(error);
    }
    assert.match(text, /^word1 word2 /, fault);
    assert.ok(failures.length > 0, fault);
  }
});
