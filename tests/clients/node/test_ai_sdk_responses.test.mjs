// What the Vercel AI SDK can do with every family through the default model of its provider for OpenAI, which speaks the
// Responses API.

import assert from 'node:assert/strict';
import { before } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { INVOICE, PIXEL, all, caught, prompt } from './asks.mjs';
import { script } from './messages_asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';
import { MENDED } from './responses_asks.mjs';

const MODELS = { ...FAMILIES.chat, ...FAMILIES.responses };
const declare = suite('responses', 'Vercel AI SDK', MODELS);
let openai;

before(async () => {
  const { baseURL } = await Proxy.start('--debug');
  openai = createOpenAI({ baseURL, apiKey: KEY });
});

// What was said is kept and referred to; or it is sent again, with its encrypted reasoning.
const WAYS = [{}, { store: false }];

/** A feature each way: `run` gets what the SDK's functions are called with, and the model's name. */
function feature(name, ...rest) {
  const run = rest.pop();
  declare(name, ...rest, async (model) => {
    for (const way of WAYS) {
      const failures = [];
      const onError = ({ error }) => failures.push(error);
      const at = { model: openai(model), maxRetries: 0, onError, providerOptions: { openai: way } };
      await run(at, model);
      assert.deepEqual(failures, []);
    }
  });
}

/** Reasons, though the SDK does not know the model. */
function thinking(at) {
  const options = { reasoningEffort: 'low', reasoningSummary: 'auto', forceReasoning: true };
  return { ...at, providerOptions: { openai: { ...at.providerOptions.openai, ...options } } };
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
const isPassed = (model) => model.startsWith('gpt-5');
const reasons = (model) => isPassed(model) || MODELS[model].reasons === 'shown';

feature('create', async (at, model) => {
  const { text, finishReason, response } = await generateText({ ...at, prompt: prompt('Hello there') });
  assert.match(text, /You said: "Hello there"\./);
  assert.deepEqual([finishReason, response.modelId], ['stop', model]);
  assert.match(response.id, /^resp_/);
});

feature('history', async (at) => {
  const messages = [
    { role: 'user', content: 'One' },
    { role: 'assistant', content: 'Two' },
    { role: 'user', content: prompt('Three') },
  ];
  const { text, response } = await generateText({ ...at, system: 'Be brief.', messages });
  assert.match(text, /Three/);
  messages.push(...response.messages, { role: 'user', content: prompt('Four') });
  assert.match((await generateText({ ...at, system: 'Be brief.', messages })).text, /Four/);
});

feature('settings', async (at) => {
  assert.ok((await generateText({ ...at, temperature: 0.3, topP: 0.9, prompt: prompt('Hello') })).text);
});

feature('stream', async (at) => {
  const { text } = await generateText({ ...at, prompt: prompt('Hello') });
  const pieces = await all(streamText({ ...at, prompt: prompt('Hello') }).textStream);
  assert.equal(pieces.join(''), text);
  assert.ok(pieces.length > 1);
});

feature('usage', async (at, model) => {
  const { usage } = await generateText({ ...at, prompt: prompt('Count me') });
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  const streamed = await streamText({ ...at, prompt: prompt('Count me') }).usage;
  assert.deepEqual(
    [streamed.inputTokens, streamed.outputTokens],
    [usage.inputTokens, usage.outputTokens],
  );
  if (isPassed(model)) assert.ok(usage.outputTokenDetails.reasoningTokens > 0);
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
}

feature('tool loop', { needs: 'tools' }, loop);

feature('custom tools', { needs: 'tools' }, async (at) => {
  const definition = 'start: /(.|\\n)+/';
  const format = { type: 'grammar', syntax: 'lark', definition };
  const patch = openai.tools.customTool({ name: 'apply_patch', description: 'Changes files', format });
  const given = [];
  patch.execute = (input) => {
    given.push(input);
    return 'Done!';
  };
  const request = {
    ...at,
    tools: { apply_patch: patch, time_in: TOOLS.time_in },
    stopWhen: stepCountIs(4),
    prompt: prompt('Mend it', script([['apply_patch', { input: MENDED }]])),
  };
  assert.match((await generateText(request)).text, /The tool says: Done!/);
  assert.match((await streamText(request).steps).at(-1).text, /The tool says: Done!/);
  assert.deepEqual(given, [MENDED, MENDED]);
});

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

feature('hosted tools', { needs: 'tools' }, async (at) => {
  const tools = { ...TOOLS, web_search: openai.tools.webSearch({}) };
  const { toolCalls, response } = await generateText({ ...at, tools, prompt: prompt('Use time_in') });
  assert.deepEqual(names(toolCalls), ['time_in']);
  assert.match(response.headers['x-proxy-dropped'], /web_search/);
});

feature('vision', { needs: 'vision' }, async (at) => {
  const content = [
    { type: 'text', text: prompt('What is this?') },
    { type: 'image', image: PIXEL },
  ];
  const { text } = await generateText({ ...at, messages: [{ role: 'user', content }] });
  assert.match(text, /I see 1 image\./);
});

feature('json_schema', async (at) => {
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

feature('json_object', async (at) => {
  const request = { ...at, output: Output.json(), prompt: prompt('Answer in JSON') };
  assert.equal(typeof (await generateText(request)).output, 'object');
});

feature('previous_response_id', async (at) => {
  const first = await generateText({ ...at, prompt: prompt('One') });
  const { responseId: previousResponseId } = first.providerMetadata.openai;
  const next = { ...at, providerOptions: { openai: { ...at.providerOptions.openai, previousResponseId } } };
  const ask = () => generateText({ ...next, prompt: prompt('Two') });
  if (at.providerOptions.openai.store === false) {
    const error = await caught(APICallError, ask);
    assert.ok(error.message.includes(previousResponseId), error.message);
  } else {
    const { text, usage } = await ask();
    assert.match(text, /You said: "Two"\./);
    assert.ok(usage.inputTokens > first.usage.inputTokens);
  }
});

feature('reasoning', async (at, model) => {
  const request = { ...thinking(at), prompt: prompt('Think') };
  const { text, reasoningText } = await generateText(request);
  assert.match(text, /You said: "Think"\./);
  assert.equal(Boolean(reasoningText), reasons(model));
  const streamed = streamText(request);
  assert.deepEqual([await streamed.text, await streamed.reasoningText], [text, reasoningText]);
});

feature('reasoning + tools', { needs: 'tools' }, (at) => loop(thinking(at)));

feature('length', async (at) => {
  const { finishReason } = await generateText({ ...at, maxOutputTokens: 16, prompt: prompt('A tale') });
  assert.equal(finishReason, 'length');
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
  for (const fault of ['error_after=40', 'cut_after=40', 'end_after=40']) {
    const failures = [];
    const onError = ({ error }) => failures.push(error);
    const words = prompt('Hello', `frames=500 pause_ms=0 ${fault}`);
    const { fullStream } = streamText({ ...at, prompt: words, onError });
    let text = '';
    let end;
    try {
      for await (const piece of fullStream) {
        text += piece.type === 'text-delta' ? piece.text : '';
        end = piece.type === 'finish' ? piece.finishReason : end;
      }
    } catch (error) {
      failures.push(error);
    }
    assert.match(text, /^word1 word2 /, fault);
    assert.ok(failures.length > 0 || end === 'error', `${fault}: ${end}`);
  }
});
