// What the Vercel AI SDK can do with every family through its provider for Anthropic.

import assert from 'node:assert/strict';
import { before } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { INVOICE, PIXEL, all, caught, prompt } from './asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';

const CHAT = FAMILIES.chat;
const declare = suite('messages', 'Vercel AI SDK', CHAT);
let baseURL;

before(async () => {
  ({ baseURL } = await Proxy.start('--debug'));
});

/** A feature: `run` gets what the SDK's functions are called with, and the model's name. */
function feature(name, ...rest) {
  const run = rest.pop();
  declare(name, ...rest, async (model) => {
    const failures = [];
    const onError = ({ error }) => failures.push(error);
    const of = createAnthropic({ baseURL, apiKey: KEY });
    await run({ model: of(model), maxRetries: 0, maxOutputTokens: 4000, onError }, model);
    assert.deepEqual(failures, []);
  });
}

const BOTH = ['weather_of', 'time_in'];
const TOOLS = Object.fromEntries(
  ['sunny', 'noon'].map((answer, n) => [
    BOTH[n],
    tool({
      description: BOTH[n],
      inputSchema: z.object({ city: z.string() }),
      execute: () => answer,
    }),
  ]),
);
const names = (calls) => calls.map((call) => call.toolName);

feature('chat', async (at) => {
  const messages = [
    { role: 'user', content: 'One' },
    { role: 'assistant', content: 'Two' },
    { role: 'user', content: prompt('Hello there') },
  ];
  const { text, finishReason } = await generateText({ ...at, system: 'Be brief.', messages });
  assert.match(text, /You said: "Hello there"\./);
  assert.equal(finishReason, 'stop');
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
  assert.deepEqual([streamed.inputTokens, streamed.outputTokens], [usage.inputTokens, usage.outputTokens]);
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
}

const THINKS = { providerOptions: { anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } } } };

feature('tool loop', { needs: 'tools' }, loop);

feature('thinking + tools', { needs: 'tools' }, (at) => loop({ ...at, ...THINKS }));

feature('thinking', async (at, model) => {
  const request = { ...at, ...THINKS, prompt: prompt('Think') };
  const { text, reasoningText } = await generateText(request);
  assert.match(text, /You said: "Think"\./);
  assert.equal(Boolean(reasoningText), CHAT[model].reasons === 'shown');
  const streamed = streamText(request);
  assert.deepEqual([await streamed.text, await streamed.reasoningText], [text, reasoningText]);
});

feature('tool choice', { needs: 'tools' }, async (at) => {
  for (const [toolChoice, expected] of [
    ['required', ['weather_of']],
    [{ type: 'tool', toolName: 'time_in' }, ['time_in']],
    ['none', []],
  ]) {
    const request = { ...at, tools: TOOLS, toolChoice, prompt: prompt('Hello') };
    assert.deepEqual(names((await generateText(request)).toolCalls), expected);
  }
});

feature('vision', { needs: 'vision' }, async (at) => {
  const text = { type: 'text', text: prompt('What is this?') };
  const content = [text, { type: 'image', image: PIXEL }];
  const reply = await generateText({ ...at, messages: [{ role: 'user', content }] });
  assert.match(reply.text, /I see 1 image\./);
});

// The SDK asks models that it does not know for JSON by a tool.
feature('json_schema', { needs: 'tools' }, async (at) => {
  const request = { ...at, output: Output.object({ schema: INVOICE }), prompt: prompt('An invoice') };
  const { output } = await generateText(request);
  assert.ok(INVOICE.safeParse(output).success);
  const parts = await all(streamText(request).partialOutputStream);
  assert.deepEqual(parts.at(-1), output);
});

feature('length', async (at) => {
  const request = { ...at, maxOutputTokens: 16, prompt: prompt('A tale') };
  assert.equal((await generateText(request)).finishReason, 'length');
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
