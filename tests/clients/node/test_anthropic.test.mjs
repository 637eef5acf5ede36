// What Anthropic's Node SDK can do but for what test_messages.test.mjs tries with every model: the proxy as a whole, and
// Anthropic's own. test_anthropic.py is the same list for Python.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { before } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { all, caught } from './asks.mjs';
import { ADAPTS, THINKS, asks, textOf, user } from './messages_asks.mjs';
import { KEY, Proxy, suite } from './proxy.mjs';

const feature = suite('anthropic', 'anthropic for Node', {});
const MODELS = ['anthropic--claude-4.5-sonnet', 'gpt-4o'];
const EACH = { models: MODELS };
const ANY = { models: null };
const NAMES = ['claude-sonnet-4-5', 'claude-sonnet-4-5-20250929', 'claude-opus-4-8', 'anthropic--gpt-5'];

let proxy;
let client;
let impatient;

before(async () => {
  proxy = await Proxy.start('--debug');
  client = new Anthropic({ baseURL: proxy.rootURL, apiKey: KEY });
  impatient = client.withOptions({ maxRetries: 0 });
});

const ids = (models) => models.map((model) => model.id);

feature('models: list, pages, retrieve', ANY, async () => {
  const names = ids(await all(client.models.list()));
  // Claude goes by Anthropic's name; Claude Code offers only what begins as Anthropic's names do.
  const expected = ['claude-sonnet-4-5', 'gpt-4o', 'anthropic--gpt-4o'];
  assert.ok(expected.every((model) => names.includes(model)) && new Set(names).size === names.length);
  const page = await client.models.list({ limit: 3 });
  assert.deepEqual([page.data.length, page.has_more, page.last_id], [3, true, names[2]]);
  assert.deepEqual(ids(await all(page)), names);
  const after = await client.models.list({ after_id: names[2], limit: 2 });
  assert.deepEqual(ids(after.data), names.slice(3, 5));
  const earlier = await client.models.list({ before_id: names[4], limit: 2 });
  assert.deepEqual(ids(earlier.data), names.slice(2, 4));
  for (const name of MODELS) {
    const one = await client.models.retrieve(name);
    assert.deepEqual([one.id, one.type], [name, 'model']);
    assert.ok(one.display_name && Date.parse(one.created_at) >= 0);
  }
  const error = await caught(Anthropic.NotFoundError, () => client.models.retrieve('claude-0'));
  assert.match(error.apiMessage, /claude-0/);
});

feature("models: Anthropic's own names", { models: NAMES }, async (model) => {
  assert.ok(textOf(await impatient.messages.create(asks('Hello', model))));
  assert.ok(await impatient.messages.stream(asks('Hello', model)).finalText());
  assert.equal((await impatient.models.retrieve(model)).type, 'model');
});

feature('keys: x-api-key and Bearer', ANY, async () => {
  const bearer = new Anthropic({ baseURL: proxy.rootURL, apiKey: null, authToken: KEY });
  assert.ok(textOf(await bearer.messages.create(asks('Hello', 'gpt-4o'))));
  assert.ok((await bearer.models.list()).data.length);
});

const messages = [user('Hello')];

feature('error: wrong key', ANY, async () => {
  const stranger = client.withOptions({ apiKey: 'sk-wrong' });
  for (const ask of [
    () => stranger.models.list(),
    () => stranger.messages.create(asks('Hello', 'gpt-4o', { stream: true })),
    () => stranger.messages.countTokens({ model: 'gpt-4o', messages }),
  ]) {
    const error = await caught(Anthropic.AuthenticationError, ask);
    assert.equal(error.type, 'authentication_error');
    assert.ok(error.requestID);
  }
});

feature('error: unknown model', ANY, async () => {
  for (const ask of [
    () => client.messages.create(asks('Hello', 'gpt-0')),
    () => client.messages.create(asks('Hello', 'gpt-0', { stream: true })),
    () => client.messages.countTokens({ model: 'gpt-0', messages }),
  ]) {
    const error = await caught(Anthropic.NotFoundError, ask);
    assert.equal(error.type, 'not_found_error');
    assert.match(error.apiMessage, /gpt-0/);
  }
  const embeds = () => client.messages.create(asks('Hello', 'text-embedding-3-small'));
  await caught(Anthropic.BadRequestError, embeds);
});

// The same whether the request is converted or passes through.
feature('error: a path in the request', ANY, async () => {
  const blocks = [{ type: 'text', text: 'Hello' }, { type: 'no_such_block' }];
  for (const [field, more] of [
    ['messages', { messages: [] }],
    ['messages', { messages: [user(7)] }],
    ['max_tokens', { max_tokens: -1 }],
    ['content', { messages: [user(blocks)] }],
  ]) {
    for (const model of MODELS) {
      const ask = () => impatient.messages.create(asks('Hello', model, more));
      const error = await caught(Anthropic.BadRequestError, ask);
      assert.ok(error.apiMessage.includes(field), `${model}: ${error.apiMessage}`);
    }
  }
});

feature('what is left out is named', EACH, async (model) => {
  const more = { no_such_field: 1, container: 'somewhere' };
  const { data, response } = await impatient.messages.create(asks('Hello', model, more)).withResponse();
  assert.ok(textOf(data));
  const named = response.headers.get('x-proxy-dropped').split(', ');
  assert.ok(Object.keys(more).every((name) => named.includes(name)), `${named}`);
});

feature('error: 429, 529, 500, retried by the SDK', EACH, async (model) => {
  // Claude 4.5 has two deployments, and the proxy asks the second itself.
  const times = model === MODELS[0] ? 2 : 1;
  const faults = ['status=429 retry_after=1', 'status=529 retry_after=1', 'status=500', 'no_answer'];
  for (const [number, name] of faults.entries()) {
    const fault = `${name} times=${times} key=${randomUUID()}`;
    const began = performance.now();
    assert.ok(await client.messages.create(asks('Hello', model, { fault, stream: number % 2 === 1 })), name);
    assert.ok(!name.includes('retry_after') || performance.now() - began >= 1000);
  }
});

feature('error: 413', EACH, async (model) => {
  const ask = () => impatient.messages.create(asks('x'.repeat(33 << 20), model));
  const error = await caught(Anthropic.ContentTooLargeError, ask);
  assert.equal(error.type, 'request_too_large');
});

// As many as coding agents ask for.
feature('32,000 tokens, not streamed', EACH, async (model) => {
  const reply = client.messages.create(asks('Hello', model, { max_tokens: 32000 }), { timeout: 60_000 });
  assert.ok(textOf(await reply));
});

feature('request-id', ANY, async () => {
  assert.ok((await client.messages.create(asks('Hi', 'gpt-4o')))._request_id);
  const headers = { 'x-request-id': 'my-own-id-1' };
  const response = await client.models.list({}, { headers }).asResponse();
  assert.equal(response.headers.get('request-id'), 'my-own-id-1');
});

feature('beta: flags, ?beta=true', EACH, async (model) => {
  const betas = ['interleaved-thinking-2025-05-14', 'context-management-2025-06-27', 'no-such-flag-2099-01-01'];
  const context_management = { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] };
  const request = asks('Hello', model, { betas, context_management, ...THINKS });
  const reply = await impatient.beta.messages.create(request);
  assert.ok(textOf(reply) && reply.stop_reason === 'end_turn');
  const streamed = impatient.beta.messages.stream(asks('Hello', model, { betas, ...ADAPTS }));
  assert.ok(textOf(await streamed.finalMessage()));
});

feature('32 at once', EACH, async (model) => {
  const numbers = Array.from({ length: 32 }, (_, n) => n);
  const one = (n) => client.messages.stream(asks(`Number ${n}`, model, { fault: 'pause_ms=30' })).finalText();
  const answers = await Promise.all(numbers.map(one));
  assert.ok(answers.every((answer, n) => answer.includes(`"Number ${n}".`)));
});

feature('HTTPS: trusting the made CA', EACH, async (model) => {
  const secure = await Proxy.start('--https');
  const code = `import Anthropic from '@anthropic-ai/sdk';
    const reply = await new Anthropic().messages.stream(JSON.parse(process.argv[1])).finalText();
    process.stdout.write(reply);`;
  const env = {
    ...process.env,
    NODE_EXTRA_CA_CERTS: join(secure.folder, 'cert', 'ca.pem'),
    ANTHROPIC_BASE_URL: secure.rootURL,
    ANTHROPIC_API_KEY: KEY,
  };
  const program = ['--input-type=module', '-e', code, JSON.stringify(asks('Hello', model))];
  assert.match(execFileSync(process.execPath, program, { env, encoding: 'utf8' }), /You said: "Hello"/);
});

feature('log: no key, no prompt', ANY, async () => {
  const quiet = await Proxy.start('--log-level', 'trace', '--log-format', 'json');
  const at = new Anthropic({ baseURL: quiet.rootURL, apiKey: KEY, maxRetries: 0 });
  for (const model of MODELS) {
    await at.messages.create(asks('Secret-prompt', model));
    await at.messages.stream(asks('Secret-prompt', model)).done();
  }
  await caught(Anthropic.AuthenticationError, () => at.withOptions({ apiKey: 'sk-not-ours' }).models.list());
  const { code, log } = await quiet.stop();
  assert.equal(code, 0);
  const lines = log.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines.filter((line) => 'request' in line).length, 5);
  for (const secret of [KEY, 'sk-not-ours', 'Secret-prompt', 'You said', 'eyJ', 'aaaa-bbbb']) {
    assert.ok(!log.includes(secret), secret);
  }
});
