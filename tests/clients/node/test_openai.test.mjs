// What the official Node SDK can do but for what test_families.test.mjs tries with every model: the proxy as a whole, and
// OpenAI's own. test_openai.py is the same list for Python.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { before } from 'node:test';
import { fileURLToPath } from 'node:url';
import OpenAI, { AzureOpenAI } from 'openai';
import { all, caught, says, textOf } from './asks.mjs';
import { KEY, Proxy, suite } from './proxy.mjs';

const EMBEDDER = 'text-embedding-3-small';
const EACH = ['gpt-4o', 'gpt-5'];
const feature = suite('openai', 'openai for Node', {});

let proxy, secure, client, impatient;

before(async () => {
  [proxy, secure] = await Promise.all([Proxy.start('--debug'), Proxy.start('--https')]);
  client = new OpenAI({ baseURL: proxy.baseURL, apiKey: KEY });
  impatient = client.withOptions({ maxRetries: 0 });
});

const chat = (request, options) => client.chat.completions.create(request, options);
const message = async (request) => (await chat(request)).choices[0].message;

async function chunksOf(request, by = client) {
  return all(await by.chat.completions.create({ ...request, stream: true }));
}

feature('usage: details', { models: EACH }, async (model) => {
  const { usage } = await chat(says('Count me', model));
  assert.equal(usage.prompt_tokens_details.cached_tokens, 0);
  const { reasoning_tokens } = usage.completion_tokens_details;
  assert.equal(reasoning_tokens > 0, model === 'gpt-5');
  if (model === 'gpt-5') {
    const less = await chat(says('Count me', model, { reasoning_effort: 'low' }));
    const low = less.usage.completion_tokens_details.reasoning_tokens;
    assert.ok(0 < low && low < reasoning_tokens);
  }
});

feature('n=2 and logprobs', { models: ['gpt-4o'] }, async (model) => {
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

feature('models: list and retrieve', { models: null }, async () => {
  const names = (await all(client.models.list())).map((model) => model.id);
  for (const name of ['gpt-4o', 'gpt-5', EMBEDDER]) assert.ok(names.includes(name), name);
  assert.equal(new Set(names).size, names.length);
  const one = await client.models.retrieve('gpt-4o');
  assert.deepEqual([one.id, one.object, one.owned_by], ['gpt-4o', 'model', 'openai']);
  const error = await caught(OpenAI.NotFoundError, () => client.models.retrieve('gpt-0'));
  assert.equal(error.code, 'model_not_found');
});

feature('error: wrong key', { models: null }, async () => {
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

feature('error: unknown model', { models: null }, async () => {
  for (const stream of [false, true]) {
    const ask = () => chat(says('Hello', 'gpt-0', { stream }));
    const error = await caught(OpenAI.NotFoundError, ask);
    assert.deepEqual([error.code, error.param], ['model_not_found', 'model']);
    assert.match(error.message, /gpt-4o/);
  }
  await caught(OpenAI.NotFoundError, () => client.embeddings.create({ model: 'no', input: 'x' }));
});

feature('error: 429, retried by the SDK', { models: EACH }, async (model) => {
  let tries = 0;
  const counted = client.withOptions({ fetch: (...args) => (tries++, fetch(...args)) });
  // gpt-5 has two deployments, and the proxy asks the second itself.
  const deployments = model === 'gpt-5' ? 2 : 1;
  const fault = `status=429 retry_after=1 times=${deployments} key=${randomUUID()}`;
  const began = performance.now();
  const reply = await counted.chat.completions.create(says('Hello', model, { fault }));
  assert.ok(reply.choices[0].message.content);
  assert.equal(tries, 2);
  assert.ok(performance.now() - began >= 990);
});

feature('error: 429, the other deployment answers', { models: ['gpt-5'] }, async (model) => {
  for (const stream of [false, true]) {
    const fault = `status=429 times=1 key=${randomUUID()}`;
    assert.ok(await impatient.chat.completions.create(says('Hi', model, { fault, stream })));
  }
});

feature('error: 429 for ever', { models: EACH }, async (model) => {
  for (const stream of [false, true]) {
    const ask = says('Hello', model, { fault: 'status=429 retry_after=1', stream });
    const error = await caught(OpenAI.RateLimitError, () => chat(ask, { maxRetries: 1 }));
    assert.equal(error.headers.get('retry-after'), '1');
  }
});

feature('error: 500, 503, no answer', { models: EACH }, async (model) => {
  for (const [fault, status] of [['status=500', 500], ['status=503', 503], ['no_answer', 502]]) {
    const began = performance.now();
    const ask = () => chat(says('Hello', model, { fault }));
    const error = await caught(OpenAI.InternalServerError, ask);
    assert.equal(error.status, status);
    assert.ok(performance.now() - began > 700, 'the SDK retries twice');
  }
});

feature('error: AI Core refuses us → 502', { models: EACH }, async (model) => {
  for (const status of [401, 403]) {
    const ask = says('Hello', model, { fault: `status=${status}` });
    const error = await caught(OpenAI.InternalServerError, () => impatient.chat.completions.create(ask));
    assert.equal(error.status, 502);
    assert.match(error.message, /service key/);
  }
});

feature('error: 413', { models: EACH }, async (model) => {
  for (const [text, fault] of [['x'.repeat(33 << 20)], ['Hello', 'status=413']]) {
    const ask = () => impatient.chat.completions.create(says(text, model, { fault }));
    assert.equal((await caught(OpenAI.APIError, ask)).status, 413);
  }
});

feature('x-request-id', { models: null }, async () => {
  const headers = { 'x-request-id': 'my-own-id-1' };
  const { request_id } = await client.models.list({ headers }).withResponse();
  assert.equal(request_id, 'my-own-id-1');
  assert.ok((await chat(says('Hi', 'gpt-4o')))._request_id);
});

const azure = (apiKey = KEY) =>
  new AzureOpenAI({ endpoint: proxy.rootURL, apiKey, apiVersion: '2024-10-21' });

feature('AzureOpenAI: chat', { models: EACH }, async (model) => {
  const whole = await azure().chat.completions.create(says('Hello', model));
  const chunks = await chunksOf(says('Hello', model), azure());
  assert.equal(textOf(chunks), whole.choices[0].message.content);
  const ask = (by, name) => () => by.chat.completions.create(says('Hello', name));
  await caught(OpenAI.NotFoundError, ask(azure(), 'gpt-0'));
  await caught(OpenAI.AuthenticationError, ask(azure('sk-wrong'), model));
});

feature('AzureOpenAI: embeddings', { models: null }, async () => {
  const reply = await azure().embeddings.create({ model: EMBEDDER, input: 'x' });
  assert.equal(reply.data[0].embedding.length, 1536);
});

feature('32 at once', { models: EACH }, async (model) => {
  const one = async (number) => {
    const request = says(`Number ${number}`, model, { fault: 'pause_ms=30' });
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

feature('HTTPS: trusting the made CA', { models: EACH }, async (model) => {
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

feature('HTTPS: CA from the environment', { models: null }, async () => {
  const NODE_EXTRA_CA_CERTS = join(secure.folder, 'cert', 'ca.pem');
  const code = `console.log((await client.models.retrieve('gpt-4o')).id)`;
  assert.equal(elsewhere(code, { NODE_EXTRA_CA_CERTS }), 'gpt-4o\n');
});

feature('HTTPS: refused without the CA', { models: null }, async () => {
  const stranger = new OpenAI({ baseURL: secure.baseURL, apiKey: KEY, maxRetries: 0 });
  await caught(OpenAI.APIConnectionError, () => stranger.models.list());
});

feature('log: no key, no prompt; stops on SIGTERM', { models: null }, async () => {
  const own = await Proxy.start('--log-level', 'trace', '--log-format', 'json');
  const by = new OpenAI({ baseURL: own.baseURL, apiKey: KEY, maxRetries: 0 });
  const create = (...args) => by.chat.completions.create(says(...args));
  await create('Secret-prompt', 'gpt-4o');
  await chunksOf(says('Secret-prompt', 'gpt-5'), by);
  await caught(OpenAI.BadRequestError, () => create('Secret-prompt', 'gpt-5', { fault: 'status=400' }));
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
