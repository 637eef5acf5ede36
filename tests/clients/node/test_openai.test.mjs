// What the official Node SDK can do through the proxy. test_openai.py is the same list for Python.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { before } from 'node:test';
import { fileURLToPath } from 'node:url';
import OpenAI, { AzureOpenAI } from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { KEY, MODELS, Proxy, feature } from './proxy.mjs';

const EMBEDDER = 'text-embedding-3-small';
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk' +
  'YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
const TOOLS = [
  ['weather_of', 'weather'],
  ['time_in', 'time'],
].map(([name, what]) => ({
  type: 'function',
  function: {
    name,
    description: `Tells the ${what} of a city`,
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}));

let proxy, secure, client, impatient;

before(async () => {
  [proxy, secure] = await Promise.all([Proxy.start('--debug'), Proxy.start('--https')]);
  client = new OpenAI({ baseURL: proxy.baseURL, apiKey: KEY });
  impatient = client.withOptions({ maxRetries: 0 });
});

/** A request as people write it. A reasoning model takes neither of the two settings as they are. */
function says(content, model, more = {}) {
  const messages = [{ role: 'user', content }];
  return { model, messages, max_tokens: 4000, temperature: 0.2, ...more };
}

const chat = (request, options) => client.chat.completions.create(request, options);
const message = async (request) => (await chat(request)).choices[0].message;

async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

async function chunksOf(request, by = client) {
  return all(await by.chat.completions.create({ ...request, stream: true }));
}

function textOf(chunks) {
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
}

/** The error of this class that `run` ends in. */
async function caught(kind, run) {
  try {
    await run();
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    return error;
  }
  assert.fail('no error');
}

feature('chat', MODELS, async (model) => {
  const reply = await chat(says('Hello there', model));
  const [choice] = reply.choices;
  assert.match(choice.message.content, /You said: "Hello there"\./);
  assert.deepEqual([choice.message.role, choice.finish_reason], ['assistant', 'stop']);
  assert.deepEqual([reply.object, reply.model], ['chat.completion', model]);
  assert.ok(reply.id && Math.abs(reply.created - Date.now() / 1000) < 60);
});

feature('stream', MODELS, async (model) => {
  const whole = await message(says('Hello 👋', model));
  const chunks = await chunksOf(says('Hello 👋', model));
  assert.equal(textOf(chunks), whole.content);
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
  assert.ok(chunks.every((chunk) => chunk.id === chunks[0].id && chunk.model === model));
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  const reasons = chunks.map((chunk) => chunk.choices[0].finish_reason);
  assert.equal(reasons.pop(), 'stop');
  assert.ok(reasons.every((reason) => reason === null));
});

feature('stream: chunks one by one', MODELS, async (model) => {
  const arrivals = [];
  for await (const chunk of await chat(says('[[demo frames=10 pause_ms=100]]', model, { stream: true }))) {
    if (chunk.choices[0].delta.content) arrivals.push(performance.now());
  }
  assert.equal(arrivals.length, 10);
  const gaps = arrivals.slice(1).map((at, n) => at - arrivals[n]);
  assert.ok(arrivals[9] - arrivals[0] > 700, `${gaps}`);
  assert.ok(gaps.filter((gap) => gap > 50).length >= 7, `${gaps}`);
});

feature('stream: include_usage', MODELS, async (model) => {
  const chunks = await chunksOf(says('Hello', model, { stream_options: { include_usage: true } }));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.total_tokens > 0 && chunks.every((chunk) => !chunk.usage));
  assert.deepEqual(last.usage, (await chat(says('Hello', model))).usage);
});

feature("stream: SDK's helper", MODELS, async (model) => {
  const stream = client.chat.completions.stream(says('Hello', model));
  let deltas = '';
  stream.on('content', (delta) => (deltas += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(deltas, final.choices[0].message.content);
  assert.equal(final.choices[0].finish_reason, 'stop');
});

feature('stream: client stops early', MODELS, async (model) => {
  const request = says('[[demo frames=1000 pause_ms=20]]', model, { stream: true });
  for await (const chunk of await chat(request)) {
    assert.ok(chunk);
    break;
  }
  assert.ok(await message(says('Still there?', model)));
});

feature('tools: call, result, answer', MODELS, async (model) => {
  const request = says('Please use weather_of for Walldorf', model, { tools: TOOLS });
  const [first] = (await chat(request)).choices;
  assert.deepEqual([first.finish_reason, first.message.content], ['tool_calls', null]);
  const [call, ...more] = first.message.tool_calls;
  assert.deepEqual([call.function.name, more], ['weather_of', []]);
  assert.ok('city' in JSON.parse(call.function.arguments));
  const result = { role: 'tool', tool_call_id: call.id, content: 'sunny' };
  request.messages.push(first.message, result);
  const [last] = (await chat(request)).choices;
  assert.equal(last.finish_reason, 'stop');
  assert.match(last.message.content, /The tool says: sunny/);
});

feature('tools: parallel, streamed', MODELS, async (model) => {
  const request = says('Go [[demo tool=weather_of,time_in]]', model, { tools: TOOLS });
  const calls = [];
  let reason;
  for (const { choices } of await chunksOf(request)) {
    reason = choices[0].finish_reason ?? reason;
    for (const part of choices[0].delta.tool_calls ?? []) {
      calls[part.index] ??= { id: part.id, type: 'function', function: { name: '', arguments: '' } };
      calls[part.index].function.name += part.function.name ?? '';
      calls[part.index].function.arguments += part.function.arguments ?? '';
    }
  }
  assert.equal(reason, 'tool_calls');
  assert.deepEqual(calls.map((call) => call.function.name), ['weather_of', 'time_in']);
  assert.ok(calls.every((call) => 'city' in JSON.parse(call.function.arguments)));
  request.messages.push({ role: 'assistant', tool_calls: calls });
  for (const call of calls) {
    const content = `${call.function.name} ok`;
    request.messages.push({ role: 'tool', tool_call_id: call.id, content });
  }
  assert.match(textOf(await chunksOf(request)), /weather_of ok · time_in ok/);
});

feature('tools: tool_choice', MODELS, async (model) => {
  const called = async (text, more) => {
    const { tool_calls } = await message(says(text, model, { tools: TOOLS, ...more }));
    return (tool_calls ?? []).map((call) => call.function.name);
  };
  const both = 'weather_of and time_in';
  assert.deepEqual(await called(both), ['weather_of', 'time_in']);
  assert.deepEqual(await called(both, { parallel_tool_calls: false }), ['weather_of']);
  assert.deepEqual(await called(both, { tool_choice: 'none' }), []);
  assert.deepEqual(await called('Hello', { tool_choice: 'auto' }), []);
  assert.deepEqual(await called('Hello', { tool_choice: 'required' }), ['weather_of']);
  const named = { type: 'function', function: { name: 'time_in' } };
  assert.deepEqual(await called('Hello', { tool_choice: named }), ['time_in']);
});

feature('vision: data URL', MODELS, async (model) => {
  const parts = [
    { type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url: PIXEL, detail: 'low' } },
  ];
  assert.match((await message(says(parts, model))).content, /I see 1 image\./);
});

feature("structured: SDK's parse", MODELS, async (model) => {
  const invoice = z.object({
    number: z.string(),
    total: z.number(),
    items: z.array(z.string()),
    paid: z.boolean(),
  });
  const response_format = zodResponseFormat(invoice, 'invoice');
  const request = says('An invoice, please', model, { response_format });
  const whole = await client.chat.completions.parse(request);
  const streamed = await client.chat.completions.stream(request).finalChatCompletion();
  for (const { choices } of [whole, streamed]) {
    assert.ok(invoice.safeParse(choices[0].message.parsed).success);
  }
});

feature('structured: json_object', MODELS, async (model) => {
  const request = says('Answer in JSON', model, { response_format: { type: 'json_object' } });
  assert.ok('answer' in JSON.parse((await message(request)).content));
});

feature('usage', MODELS, async (model) => {
  const { usage } = await chat(says('Count me', model));
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.equal(usage.prompt_tokens_details.cached_tokens, 0);
  const { reasoning_tokens } = usage.completion_tokens_details;
  assert.equal(reasoning_tokens > 0, model === 'gpt-5');
  if (model === 'gpt-5') {
    const less = await chat(says('Count me', model, { reasoning_effort: 'low' }));
    const low = less.usage.completion_tokens_details.reasoning_tokens;
    assert.ok(0 < low && low < reasoning_tokens);
  }
});

feature('max tokens → length', MODELS, async (model) => {
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    const request = { model, messages: [{ role: 'user', content: 'A long tale' }], [name]: 6 };
    const reply = await chat(request);
    assert.equal(reply.choices[0].finish_reason, 'length');
    assert.ok(0 < reply.usage.completion_tokens && reply.usage.completion_tokens <= 6);
    assert.equal((await chunksOf(request)).pop().choices[0].finish_reason, 'length');
  }
});

feature('n=2 and logprobs', ['gpt-4o'], async (model) => {
  const request = says('Twice', model, { n: 2, logprobs: true, top_logprobs: 2 });
  const { choices } = await chat(request);
  assert.deepEqual(choices.map((choice) => choice.index), [0, 1]);
  const [first] = choices[0].logprobs.content;
  assert.ok(first.logprob < 0 && first.top_logprobs.length === 2);
  const texts = ['', ''];
  for (const chunk of await chunksOf(request)) {
    const [{ index, delta, logprobs }] = chunk.choices;
    texts[index] += delta.content ?? '';
    assert.ok(!delta.content || logprobs.content.length);
  }
  assert.deepEqual(texts, choices.map((choice) => choice.message.content));
});

feature('embeddings: default (base64)', null, async () => {
  const reply = await client.embeddings.create({ model: EMBEDDER, input: 'A sentence' });
  const vector = reply.data[0].embedding;
  assert.equal(vector.length, 1536);
  assert.ok(Math.abs(vector.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-3);
  assert.ok(reply.usage.prompt_tokens > 0);
  assert.equal(reply.usage.prompt_tokens, reply.usage.total_tokens);
});

feature('embeddings: float', null, async () => {
  const request = { model: EMBEDDER, input: 'A sentence' };
  const of = async (more) => (await client.embeddings.create({ ...request, ...more })).data[0].embedding;
  const [plain, packed] = [await of({ encoding_format: 'float' }), await of({})];
  assert.ok(plain.length === 1536 && plain.every((x, n) => Math.abs(x - packed[n]) < 1e-6));
  assert.equal(typeof (await of({ encoding_format: 'base64' })), 'string');
});

feature('embeddings: dimensions', null, async () => {
  const reply = await client.embeddings.create({ model: EMBEDDER, input: 'x', dimensions: 256 });
  assert.equal(reply.data[0].embedding.length, 256);
});

feature('embeddings: list of inputs', null, async () => {
  const reply = await client.embeddings.create({ model: EMBEDDER, input: ['one', 'two', 'one'] });
  assert.deepEqual(reply.data.map((item) => item.index), [0, 1, 2]);
  const [one, two, again] = reply.data.map((item) => item.embedding);
  assert.deepEqual(one, again);
  assert.notDeepEqual(one, two);
  const ids = await client.embeddings.create({ model: EMBEDDER, input: [[1, 2, 3], [4]] });
  assert.deepEqual([ids.data.length, ids.usage.prompt_tokens], [2, 4]);
});

feature('models: list and retrieve', null, async () => {
  const names = (await all(client.models.list())).map((model) => model.id);
  for (const name of ['gpt-4o', 'gpt-5', EMBEDDER]) assert.ok(names.includes(name), name);
  assert.equal(new Set(names).size, names.length);
  const one = await client.models.retrieve('gpt-4o');
  assert.deepEqual([one.id, one.object, one.owned_by], ['gpt-4o', 'model', 'openai']);
  const error = await caught(OpenAI.NotFoundError, () => client.models.retrieve('gpt-0'));
  assert.equal(error.code, 'model_not_found');
});

feature('error: wrong key', null, async () => {
  const stranger = client.withOptions({ apiKey: 'sk-wrong' });
  for (const ask of [
    () => stranger.models.list(),
    () => stranger.chat.completions.create(says('Hello', 'gpt-4o', { stream: true })),
  ]) {
    const error = await caught(OpenAI.AuthenticationError, ask);
    assert.equal(error.code, 'invalid_api_key');
    assert.ok(error.requestID);
  }
});

feature('error: unknown model', null, async () => {
  for (const stream of [false, true]) {
    const ask = () => chat(says('Hello', 'gpt-0', { stream }));
    const error = await caught(OpenAI.NotFoundError, ask);
    assert.deepEqual([error.code, error.param], ['model_not_found', 'model']);
    assert.match(error.message, /gpt-4o/);
  }
  await caught(OpenAI.NotFoundError, () => client.embeddings.create({ model: 'no', input: 'x' }));
});

feature('error: bad request', MODELS, async (model) => {
  for (const more of [{ messages: [] }, { max_tokens: 'many' }, { stream: 'yes' }]) {
    const ask = () => chat(says('Hello', model, more));
    const error = await caught(OpenAI.BadRequestError, ask);
    assert.equal(error.type, 'invalid_request_error');
  }
  const ask = says('Hello [[demo status=400]]', model, { stream: true });
  await caught(OpenAI.BadRequestError, () => chat(ask));
});

feature('error: 429, retried by the SDK', MODELS, async (model) => {
  let tries = 0;
  const counted = client.withOptions({ fetch: (...args) => (tries++, fetch(...args)) });
  // gpt-5 has two deployments, and the proxy asks the second itself.
  const deployments = model === 'gpt-5' ? 2 : 1;
  const marker = `[[demo status=429 retry_after=1 times=${deployments} key=${randomUUID()}]]`;
  const began = performance.now();
  const reply = await counted.chat.completions.create(says(`Hello ${marker}`, model));
  assert.ok(reply.choices[0].message.content);
  assert.equal(tries, 2);
  assert.ok(performance.now() - began >= 990);
});

feature('error: 429, the other deployment answers', ['gpt-5'], async (model) => {
  for (const stream of [false, true]) {
    const marker = `[[demo status=429 times=1 key=${randomUUID()}]]`;
    assert.ok(await impatient.chat.completions.create(says(`Hi ${marker}`, model, { stream })));
  }
});

feature('error: 429 for ever', MODELS, async (model) => {
  for (const stream of [false, true]) {
    const ask = says('Hello [[demo status=429 retry_after=1]]', model, { stream });
    const error = await caught(OpenAI.RateLimitError, () => chat(ask, { maxRetries: 1 }));
    assert.equal(error.headers.get('retry-after'), '1');
  }
});

feature('error: 500, 503, no answer', MODELS, async (model) => {
  for (const [fault, status] of [['status=500', 500], ['status=503', 503], ['no_answer', 502]]) {
    const began = performance.now();
    const ask = () => chat(says(`Hello [[demo ${fault}]]`, model));
    const error = await caught(OpenAI.InternalServerError, ask);
    assert.equal(error.status, status);
    assert.ok(performance.now() - began > 700, 'the SDK retries twice');
  }
});

feature('error: AI Core refuses us → 502', MODELS, async (model) => {
  for (const status of [401, 403]) {
    const ask = says(`Hello [[demo status=${status}]]`, model);
    const error = await caught(OpenAI.InternalServerError, () => impatient.chat.completions.create(ask));
    assert.equal(error.status, 502);
    assert.match(error.message, /service key/);
  }
});

feature('error: 413', MODELS, async (model) => {
  for (const text of ['x'.repeat(33 << 20), 'Hello [[demo status=413]]']) {
    const ask = () => impatient.chat.completions.create(says(text, model));
    assert.equal((await caught(OpenAI.APIError, ask)).status, 413);
  }
});

feature('error: first frame of a stream', MODELS, async (model) => {
  const ask = says('Hello [[demo error_after=0]]', model, { stream: true });
  await caught(OpenAI.RateLimitError, () => impatient.chat.completions.create(ask));
});

feature('error: in the middle of a stream', MODELS, async (model) => {
  const seen = [];
  const error = await caught(OpenAI.APIError, async () => {
    const ask = says('Hello [[demo error_after=5]]', model, { stream: true });
    for await (const chunk of await chat(ask)) seen.push(chunk);
  });
  assert.match(textOf(seen), /^You said/);
  assert.match(error.message, /rate limit/);
});

feature('error: stream cut off', MODELS, async (model) => {
  for (const fault of ['cut_after=5', 'end_after=5']) {
    const seen = [];
    await caught(OpenAI.APIError, async () => {
      const ask = says(`Hello [[demo ${fault}]]`, model, { stream: true });
      for await (const chunk of await chat(ask)) seen.push(chunk);
    });
    assert.match(textOf(seen), /^You said/, fault);
  }
});

feature('x-request-id', null, async () => {
  const headers = { 'x-request-id': 'my-own-id-1' };
  const { request_id } = await client.models.list({ headers }).withResponse();
  assert.equal(request_id, 'my-own-id-1');
  assert.ok((await chat(says('Hi', 'gpt-4o')))._request_id);
});

const azure = (apiKey = KEY) =>
  new AzureOpenAI({ endpoint: proxy.rootURL, apiKey, apiVersion: '2024-10-21' });

feature('AzureOpenAI: chat', MODELS, async (model) => {
  const whole = await azure().chat.completions.create(says('Hello', model));
  const chunks = await chunksOf(says('Hello', model), azure());
  assert.equal(textOf(chunks), whole.choices[0].message.content);
  const ask = (by, name) => () => by.chat.completions.create(says('Hello', name));
  await caught(OpenAI.NotFoundError, ask(azure(), 'gpt-0'));
  await caught(OpenAI.AuthenticationError, ask(azure('sk-wrong'), model));
});

feature('AzureOpenAI: embeddings', null, async () => {
  const reply = await azure().embeddings.create({ model: EMBEDDER, input: 'x' });
  assert.equal(reply.data[0].embedding.length, 1536);
});

feature('32 at once', MODELS, async (model) => {
  const one = async (number) => {
    const request = says(`Number ${number}`, model);
    return number % 2 ? textOf(await chunksOf(request)) : (await message(request)).content;
  };
  const answers = await Promise.all(Array.from({ length: 32 }, (_, n) => one(n)));
  answers.forEach((answer, n) => assert.ok(answer.includes(`"Number ${n}".`), answer));
});

/** Node reads NODE_EXTRA_CA_CERTS once, at its start. */
function elsewhere(code, env) {
  const full = { ...process.env, OPENAI_BASE_URL: secure.baseURL, OPENAI_API_KEY: KEY, ...env };
  const program = `import OpenAI from 'openai'; const client = new OpenAI({ maxRetries: 0 }); ${code}`;
  const args = ['--input-type=module', '--eval', program];
  return execFileSync(process.execPath, args, { cwd: fileURLToPath(new URL('.', import.meta.url)), env: full, encoding: 'utf8' });
}

feature('HTTPS: trusting the made CA', MODELS, async (model) => {
  assert.match(secure.baseURL, /^https:/);
  const code = `
    const ask = { model: '${model}', messages: [{ role: 'user', content: 'Hello' }] };
    const whole = (await client.chat.completions.create(ask)).choices[0].message.content;
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true }))
      text += chunk.choices[0].delta.content ?? '';
    const baseURL = client.baseURL.replace('127.0.0.1', 'localhost');
    const named = await client.withOptions({ baseURL }).chat.completions.create(ask);
    console.log(text === whole && named.choices.length === 1);`;
  const NODE_EXTRA_CA_CERTS = join(secure.folder, 'cert', 'ca.pem');
  assert.equal(elsewhere(code, { NODE_EXTRA_CA_CERTS }), 'true\n');
});

feature('HTTPS: CA from the environment', null, async () => {
  const NODE_EXTRA_CA_CERTS = join(secure.folder, 'cert', 'ca.pem');
  const code = `console.log((await client.models.retrieve('gpt-4o')).id)`;
  assert.equal(elsewhere(code, { NODE_EXTRA_CA_CERTS }), 'gpt-4o\n');
});

feature('HTTPS: refused without the CA', null, async () => {
  const stranger = new OpenAI({ baseURL: secure.baseURL, apiKey: KEY, maxRetries: 0 });
  await caught(OpenAI.APIConnectionError, () => stranger.models.list());
});

feature('log: no key, no prompt; stops on SIGTERM', null, async () => {
  const own = await Proxy.start('--log-level', 'trace', '--log-format', 'json');
  const by = new OpenAI({ baseURL: own.baseURL, apiKey: KEY, maxRetries: 0 });
  const create = (...args) => by.chat.completions.create(says(...args));
  await create('Secret-prompt', 'gpt-4o');
  await chunksOf(says('Secret-prompt', 'gpt-5'), by);
  await caught(OpenAI.BadRequestError, () => create('Secret-prompt [[demo status=400]]', 'gpt-5'));
  const stranger = by.withOptions({ apiKey: 'sk-not-ours' });
  await caught(OpenAI.AuthenticationError, () => stranger.models.list());
  const { code, log } = await own.stop();
  assert.equal(code, 0);
  const lines = log.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines.filter((line) => line.request).length, 4);
  for (const secret of [KEY, 'sk-not-ours', 'Secret-prompt', 'You said', 'eyJ', 'aaaa-bbbb']) {
    assert.ok(!log.includes(secret), secret);
  }
});
