// Embeddings of every family through the official Node SDK and the Vercel AI SDK. test_embeddings.py is the same list for
// Python.

import assert from 'node:assert/strict';
import { before } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany } from 'ai';
import OpenAI from 'openai';
import { caught } from './asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';

const EMBEDDERS = FAMILIES.embeddings;
const feature = suite('embeddings', 'openai for Node', EMBEDDERS);
const ofAiSdk = suite('embeddings', 'Vercel AI SDK', EMBEDDERS);
const LEAST = { dimensions: { input: 'x', dimensions: 256 }, 'token ids': { input: [[1, 2, 3]] } };

let proxy, client;

before(async () => {
  proxy = await Proxy.start('--debug');
  client = new OpenAI({ baseURL: proxy.baseURL, apiKey: KEY, maxRetries: 0 });
});

const embed = (model, request) => client.embeddings.create({ model, ...request });
const vector = async (...ask) => (await embed(...ask)).data[0].embedding;

function close(a, b, far = 1e-6) {
  assert.equal(a.length, b.length);
  assert.ok(a.every((x, n) => Math.abs(x - b[n]) < far));
}

feature('default (base64)', async (model) => {
  const reply = await embed(model, { input: 'A sentence' });
  const [item, ...others] = reply.data;
  assert.deepEqual([reply.object, reply.model, others], ['list', model, []]);
  assert.deepEqual([item.object, item.index], ['embedding', 0]);
  assert.equal(item.embedding.length, EMBEDDERS[model].size);
  close([item.embedding.reduce((sum, x) => sum + x * x, 0)], [1], 1e-3);
  assert.ok(reply.usage.prompt_tokens > 0);
  assert.equal(reply.usage.prompt_tokens, reply.usage.total_tokens);
});

feature('float', async (model) => {
  const input = 'A sentence';
  close(await vector(model, { input, encoding_format: 'float' }), await vector(model, { input }));
  assert.equal(typeof (await vector(model, { input, encoding_format: 'base64' })), 'string');
});

feature('list', async (model) => {
  const reply = await embed(model, { input: ['one', 'two', 'one'] });
  assert.deepEqual(reply.data.map((item) => item.index), [0, 1, 2]);
  const [one, two, again] = reply.data.map((item) => item.embedding);
  assert.deepEqual(one, again);
  assert.notDeepEqual(one, two);
  close(one, await vector(model, { input: 'one' }));
  const alone = await embed(model, { input: 'one' });
  assert.ok(reply.usage.prompt_tokens > alone.usage.prompt_tokens);
});

feature('dimensions', { needs: 'dimensions' }, async (model) => {
  assert.equal((await vector(model, { input: 'A sentence', dimensions: 256 })).length, 256);
});

feature('token ids', { needs: 'token ids' }, async (model) => {
  const ids = await embed(model, { input: [[1, 2, 3], [4]] });
  assert.deepEqual([ids.data.length, ids.usage.prompt_tokens], [2, 4]);
});

feature('errors', async (model) => {
  for (const more of [{ input: [] }, { input: { text: 'x' } }, { input: 'x', encoding_format: 'int' }]) {
    const error = await caught(OpenAI.BadRequestError, () => embed(model, more));
    assert.equal(error.type, 'invalid_request_error');
  }
  const marked = 'A sentence [[demo status=429]]';
  for (const input of [marked, ['One', marked]]) {
    await caught(OpenAI.RateLimitError, () => embed(model, { input }));
  }
});

feature.refused(LEAST, async (model, ability, field) => {
  const error = await caught(OpenAI.BadRequestError, () => embed(model, LEAST[ability]));
  assert.ok(`${error.param} ${error.message}`.includes(field), error.message);
});

ofAiSdk('list', async (model) => {
  const provider = createOpenAICompatible({ name: 'proxy', baseURL: proxy.baseURL, apiKey: KEY });
  const request = { model: provider.embeddingModel(model), values: ['one', 'two', 'one'], maxRetries: 0 };
  const { embeddings, usage } = await embedMany(request);
  assert.deepEqual(embeddings[0], embeddings[2]);
  assert.equal(embeddings[1].length, EMBEDDERS[model].size);
  assert.ok(usage.tokens > 0);
});
