// What the official Node SDK can do with the Responses API of every family. test_responses.py is the same list for Python.

import assert from 'node:assert/strict';
import { before } from 'node:test';
import { gzipSync } from 'node:zlib';
import OpenAI, { AzureOpenAI } from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { INVOICE, all, caught, prompt, textOf } from './asks.mjs';
import { script } from './messages_asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';
import {
  DOCUMENT,
  IMAGE,
  MENDED,
  PATCH,
  PATCH_BY_GRAMMAR,
  SEALED,
  SEARCH,
  THINKS,
  TOOLS,
  asks,
  bare,
  begun,
  called,
  callsOf,
  checked,
  deltas,
  itemsOf,
  result,
  thoughtOf,
  user,
} from './responses_asks.mjs';

const MODELS = { ...FAMILIES.chat, ...FAMILIES.responses };
const feature = suite('responses', 'openai for Node', MODELS);
const ODD = 'It\'s "odd": {{?x}} {% if %} \\n \t 👋\u200b é\nline 2';
const BOTH = ['weather_of', 'time_in'];
const UNKNOWN = 'resp_0123456789abcdef0123456789abcdef';
const FORMAT = { text: { format: zodTextFormat(INVOICE, 'invoice') } };

// The least request for what a vendor may not have.
const LEAST = { tools: { tools: TOOLS }, vision: { parts: [IMAGE] }, documents: { parts: [DOCUMENT] } };

let proxy, client, responses;

before(async () => {
  proxy = await Proxy.start('--debug');
  client = new OpenAI({ baseURL: proxy.baseURL, apiKey: KEY, maxRetries: 0 });
  ({ responses } = client);
});

const create = (request) => responses.create(request);
const eventsOf = async (request) => checked(await all(await create({ ...request, stream: true })));
const finalOf = (request) => responses.stream(request).finalResponse();
const kindsOf = ({ output }) => output.map(({ type }) => type);
const isAble = (model, ability) => !MODELS[model].lacks?.[ability];
/** AI Core has the API itself. */
const isPassed = (model) => model.startsWith('gpt-5');
/** A summary of its thoughts can be had. */
const reasons = (model) => isPassed(model) || MODELS[model].reasons === 'shown';

feature('create', async (model) => {
  const told = { instructions: 'Be brief.', metadata: { a: 'b' } };
  const reply = await create(asks(ODD, model, told));
  assert.deepEqual([reply.object, reply.status, reply.model], ['response', 'completed', model]);
  assert.match(reply.id, /^resp_[A-Za-z0-9_]+$/);
  assert.ok(Math.abs(reply.created_at - Date.now() / 1000) < 60);
  assert.deepEqual([reply.error, reply.incomplete_details, reply.previous_response_id], [null, null, null]);
  assert.deepEqual({ instructions: reply.instructions, metadata: reply.metadata }, told);
  assert.deepEqual([reply.tools, reply.tool_choice, reply.parallel_tool_calls], [[], 'auto', true]);
  const [message, ...others] = itemsOf(reply, 'message');
  assert.deepEqual([message.role, message.status, others], ['assistant', 'completed', []]);
  assert.ok(message.id.startsWith('msg_'));
  assert.deepEqual(message.content.map((part) => [part.type, part.annotations]), [['output_text', []]]);
  assert.ok(reply.output_text.includes(`You said: "${ODD}".`), reply.output_text);
  assert.ok(reply._request_id);
  const parts = ['Hello', prompt('there')].map((text) => ({ type: 'input_text', text }));
  for (const input of [[user(prompt('Hello there'))], [{ type: 'message', ...user(parts) }]]) {
    assert.match((await create({ model, input })).output_text, /Hello\s+there/);
  }
});

feature('settings', async (model) => {
  const nothing = ['instructions', 'previous_response_id', 'reasoning', 'tools', 'text'];
  for (const settings of [
    { temperature: 0.3, top_p: 0.9, max_output_tokens: 4000, top_logprobs: 0 },
    { user: 'x', safety_identifier: 'x', prompt_cache_key: 'x', service_tier: 'auto' },
    { truncation: 'disabled', text: { format: { type: 'text' }, verbosity: 'low' }, store: false },
    { tools: [], tool_choice: 'auto', parallel_tool_calls: true, include: [], background: false },
    Object.fromEntries(nothing.map((name) => [name, null])),
    { client_metadata: { x: 'y' } },
  ]) {
    assert.match((await create(asks('Hello', model, settings))).output_text, /You said: "Hello"\./);
  }
});

feature('history', async (model) => {
  const said = { role: 'assistant', content: 'How can I help?' };
  const output = { type: 'output_text', text: 'How can I help?', annotations: [] };
  const kept = { type: 'message', id: 'msg_0a1b2c', status: 'completed', role: 'assistant', content: [output] };
  const parts = ['Two', 'Three'].map((text) => ({ type: 'input_text', text }));
  const last = user(prompt('Four'));
  const told = ['developer', 'system'].map((role) => ({ role, content: 'Be brief.' }));
  for (const items of [[user('One'), said], [...told, user(parts), kept], [user('One'), kept, told[0]], [said]]) {
    for (const more of [{}, { instructions: 'Be quick.' }]) {
      assert.match((await create({ model, input: [...items, last], ...more })).output_text, /Four/);
    }
  }
  assert.ok((await create({ model, input: [last, said] })).output_text);
});

feature('stream', async (model) => {
  const whole = await create(asks(ODD, model));
  const events = await eventsOf(asks(ODD, model));
  const ended = events.at(-1).response;
  assert.equal(deltas(events, 'output_text'), whole.output_text);
  let pieces = '';
  const streamed = responses.stream(asks(ODD, model));
  const last = await streamed
    .on('response.output_text.delta', ({ delta, snapshot }) => {
      pieces += delta;
      assert.equal(snapshot, pieces);
    })
    .finalResponse();
  assert.deepEqual([pieces, last.output_text], [whole.output_text, whole.output_text]);
  for (const each of [whole, ended, last]) {
    assert.deepEqual([each.status, each.model, kindsOf(each)], ['completed', model, kindsOf(whole)]);
  }
});

feature('stream', async (model) => {
  const request = asks('Hello', model, { stream: true, stream_options: { include_obfuscation: false } });
  const raw = await create(request).asResponse();
  assert.match(raw.headers.get('content-type'), /^text\/event-stream/);
  const lines = (await raw.text()).split(/\r?\n/).filter((line) => line && !line.startsWith(':'));
  assert.ok(lines.length > 16 && lines.length % 2 === 0);
  for (let n = 0; n < lines.length; n += 2) {
    const { type } = JSON.parse(lines[n + 1].replace(/^data:/, ''));
    assert.equal(lines[n], `event: ${type}`);
  }
});

feature('stream', async (model) => {
  const arrivals = [];
  const request = asks('', model, { fault: 'frames=60 pause_ms=9' });
  const streamed = responses.stream(request);
  await streamed.on('response.output_text.delta', () => arrivals.push(performance.now())).done();
  const middle = arrivals[arrivals.length >> 1];
  // Orchestration sends a few words at a time.
  assert.ok(arrivals.length > 5, `${arrivals}`);
  assert.ok(middle - arrivals[0] > 30 && arrivals.at(-1) - middle > 30, `${arrivals}`);
  const words = (await streamed.finalResponse()).output_text.trim().split(' ');
  assert.deepEqual(words, Array.from({ length: 60 }, (_, n) => `word${n + 1}`));
});

feature('stream', async (model) => {
  const request = asks('', model, { fault: 'frames=1000 pause_ms=20', stream: true });
  for await (const { type } of await create(request)) {
    assert.equal(type, 'response.created');
    break;
  }
  assert.ok((await create(asks('Still there?', model))).output_text);
});

feature('usage', async (model) => {
  const { usage } = await create(asks('Count me', model));
  assert.ok(usage.input_tokens > 0 && usage.output_tokens > 0);
  assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
  const { input_tokens_details: read, output_tokens_details: thought } = usage;
  assert.ok(read.cached_tokens >= 0 && read.cached_tokens <= usage.input_tokens);
  assert.ok(thought.reasoning_tokens >= (isPassed(model) ? 1 : 0));
  assert.ok(thought.reasoning_tokens <= usage.output_tokens);
  const streamed = (await eventsOf(asks('Count me', model))).at(-1).response.usage;
  const sums = ({ input_tokens, output_tokens, output_tokens_details }) => {
    return [input_tokens, output_tokens, output_tokens_details];
  };
  assert.deepEqual(sums(streamed), sums(usage));
});

feature('tools', { needs: 'tools' }, async (model) => {
  const reply = await create(asks('Please use weather_of', model, { tools: TOOLS }));
  const [call, ...others] = callsOf(reply);
  assert.deepEqual([reply.status, call.status, call.name, others], ['completed', 'completed', 'weather_of', []]);
  assert.ok('city' in JSON.parse(call.arguments) && call.id.startsWith('fc_'));
  assert.match(call.call_id, /^[A-Za-z0-9_-]{1,64}$/);
  assert.deepEqual(reply.tools.map(({ name }) => name), BOTH);
  const plain = await create(asks('Hello', model, { tools: TOOLS }));
  assert.ok(plain.output_text && !called(plain).length);
  const strict = { type: 'object', properties: {}, additionalProperties: false, required: [] };
  for (const more of [
    { parameters: strict, strict: true },
    { parameters: null, strict: null },
  ]) {
    const tools = [{ type: 'function', name: 'now', ...more }];
    const [now] = callsOf(await create(asks('now', model, { tools })));
    assert.deepEqual([now.name, JSON.parse(now.arguments)], ['now', {}]);
  }
});

feature('parallel', { needs: 'tools' }, async (model) => {
  const request = asks('Use weather_of and time_in', model, { tools: TOOLS });
  const whole = await create(request);
  const events = await eventsOf(request);
  const last = await finalOf(request);
  assert.equal(deltas(events, 'function_call_arguments').split('city').length, 3);
  for (const each of [whole, events.at(-1).response, last]) {
    assert.deepEqual([called(each), each.status], [BOTH, 'completed']);
    for (const key of ['id', 'call_id']) assert.equal(new Set(callsOf(each).map((call) => call[key])).size, 2);
  }
  const given = (response) => callsOf(response).map((call) => JSON.parse(call.arguments));
  assert.deepEqual(given(last), given(whole));
});

// The conversation is sent again, with all that was said or with what some clients keep; or its id is.
feature('tool loop', { needs: 'tools' }, async (model) => {
  const request = asks('Use weather_of and time_in', model, { tools: TOOLS });
  for (const kept of [({ output }) => output, bare, null]) {
    const asked = await create(request);
    const [weather, clock] = callsOf(asked);
    const results = [result(weather, 'sunny'), result(clock, [{ type: 'input_text', text: 'noon' }])];
    const input = kept ? [user(request.input), ...kept(asked), ...results] : results;
    const more = { ...request, input, ...(kept ? {} : { previous_response_id: asked.id }) };
    const last = await create(more);
    assert.deepEqual(called(last), []);
    assert.match(last.output_text, /sunny · noon/);
    assert.equal((await finalOf(more)).output_text, last.output_text);
    const again = user(prompt('Now time_in again'));
    const next = kept
      ? { input: [...input, ...kept(last), again] }
      : { input: [again], previous_response_id: last.id };
    assert.deepEqual(called(await create({ ...request, ...next })), ['time_in']);
  }
});

// Results in another order, without text, after a message; calls that another model made.
feature('tool loop', { needs: 'tools' }, async (model) => {
  const ids = ['call_0123456789abcdefghijABCD', 'toolu_bdrk_01AbCdEfGhIjKlMnOpQrStUv'];
  const calls = ids.map((call_id, n) => {
    return { type: 'function_call', call_id, name: BOTH[n], arguments: n ? '{"city": "Rome"}' : '{}' };
  });
  const [empty, fine] = [result(calls[0], ''), result(calls[1], 'noon')];
  const said = { role: 'assistant', content: 'Let me see.' };
  const ask = user(prompt('Well?'));
  for (const items of [
    [...calls, empty, fine],
    [said, ...calls, fine, empty],
    [said, calls[0], empty, calls[1], fine],
  ]) {
    for (const more of [{}, { tools: TOOLS }]) {
      assert.match((await create({ model, input: [ask, ...items], ...more })).output_text, /noon/);
    }
  }
  const beside = [ask, ...calls, empty, fine, user(prompt('Go on.'))];
  assert.ok((await create({ model, input: beside, tools: TOOLS })).output_text);
});

feature('images in results', { needs: 'tools' }, async (model) => {
  const request = asks('Use weather_of', model, { tools: TOOLS });
  const asked = await create(request);
  const seen = result(callsOf(asked)[0], [{ type: 'input_text', text: 'a picture' }, IMAGE]);
  const more = { ...request, input: [user(request.input), ...asked.output, seen] };
  if (isAble(model, 'vision')) {
    const last = await create(more);
    assert.ok(last.status === 'completed' && last.output_text);
  } else {
    assert.match((await caught(OpenAI.BadRequestError, () => create(more))).message, /image/);
  }
});

feature('tool choice', { needs: 'tools' }, async (model) => {
  const tools = [{ type: 'function', name: 'time_in' }];
  for (const [text, tool_choice, expected] of [
    ['weather_of and time_in', 'none', []],
    ['Hello', 'auto', []],
    ['Hello', 'required', ['weather_of']],
    ['Hello', tools[0], ['time_in']],
    ['Hello', { type: 'allowed_tools', mode: 'required', tools }, ['time_in']],
    ['weather_of', { type: 'allowed_tools', mode: 'auto', tools }, []],
  ]) {
    assert.deepEqual(called(await create(asks(text, model, { tools: TOOLS, tool_choice }))), expected);
  }
});

feature('one call at a time', { needs: 'tools' }, async (model) => {
  for (const [parallel_tool_calls, expected] of [
    [true, BOTH],
    [false, ['weather_of']],
  ]) {
    const reply = await create(asks('weather_of and time_in', model, { tools: TOOLS, parallel_tool_calls }));
    assert.deepEqual([called(reply), reply.parallel_tool_calls], [expected, parallel_tool_calls]);
  }
});

// Turn by turn with exact arguments.
feature('agent', { needs: 'tools' }, async (model) => {
  const [one, two] = [{ city: 'Rome' }, { city: 'Zürich "West"\n' }];
  const turns = [[['weather_of', one]], [['time_in', one], ['weather_of', two]], [['time_in', two]]];
  const request = asks('Do it', model, { fault: script(...turns), tools: TOOLS, ...THINKS });
  for (const byId of [false, true]) {
    let input = [user(request.input)];
    const done = [];
    let reply = await create({ ...request, input });
    while (callsOf(reply).length && done.length < 5) {
      done.push(callsOf(reply).map((call) => [call.name, JSON.parse(call.arguments)]));
      const results = callsOf(reply).map((call) => result(call, `result ${done.length}`));
      input = byId ? results : [...input, ...reply.output, ...results];
      reply = await create({ ...request, input, ...(byId ? { previous_response_id: reply.id } : {}) });
    }
    assert.deepEqual(done, turns);
    assert.match(reply.output_text, /result 3/);
  }
});

feature('custom tools', { needs: 'tools' }, async (model) => {
  for (const tool of [PATCH, PATCH_BY_GRAMMAR]) {
    const fault = script([['apply_patch', { input: MENDED }]]);
    const request = asks('Mend it', model, { fault, tools: [TOOLS[0], tool] });
    const [whole, events, last] = [await create(request), await eventsOf(request), await finalOf(request)];
    assert.equal(deltas(events, 'custom_tool_call_input'), MENDED);
    for (const reply of [whole, events.at(-1).response, last]) {
      const [call, ...others] = itemsOf(reply, 'custom_tool_call');
      assert.deepEqual([call.name, call.input, others, called(reply)], ['apply_patch', MENDED, [], []]);
      assert.ok(call.id.startsWith('ctc_') && call.call_id);
      assert.deepEqual([reply.tools[1].type, reply.tools[1].name], ['custom', 'apply_patch']);
    }
    const done = result(itemsOf(last, 'custom_tool_call')[0], 'Done!');
    for (const more of [
      { input: [user(request.input), ...last.output, done] },
      { input: [done], previous_response_id: last.id },
    ]) {
      const reply = await create({ ...request, ...more });
      assert.match(reply.output_text, /The tool says: Done!/);
      assert.deepEqual(itemsOf(reply, 'custom_tool_call'), []);
    }
  }
});

feature('custom tools', { needs: 'tools' }, async (model) => {
  for (const tool_choice of [{ type: 'custom', name: 'apply_patch' }, 'required']) {
    const reply = await create(asks('Hello', model, { tools: [PATCH, TOOLS[1]], tool_choice }));
    const [call, ...others] = itemsOf(reply, 'custom_tool_call');
    assert.deepEqual([call.name, typeof call.input, others, called(reply)], ['apply_patch', 'string', [], []]);
  }
  const both = await create(asks('Use apply_patch and time_in', model, { tools: [TOOLS[1], PATCH] }));
  const kinds = kindsOf(both).filter((kind) => !['reasoning', 'message'].includes(kind));
  assert.deepEqual(kinds.sort(), ['custom_tool_call', 'function_call']);
});

// They run nowhere here: they are left out by name, and the others work.
feature('hosted tools', { needs: 'tools' }, async (model) => {
  const request = asks('Use time_in', model, { tools: [SEARCH, ...TOOLS] });
  const { data, response } = await create(request).withResponse();
  assert.match(response.headers.get('x-proxy-dropped'), /web_search/);
  assert.deepEqual(called(data), ['time_in']);
  assert.equal((await create({ ...request, tool_choice: { type: 'web_search' } })).status, 'completed');
  const alone = await create(asks('Hello', model, { tools: [SEARCH], tool_choice: 'auto' })).withResponse();
  assert.match(alone.response.headers.get('x-proxy-dropped'), /web_search/);
  assert.ok(alone.data.output_text);
});

feature('vision', { needs: 'vision' }, async (model) => {
  const see = async (parts) => (await create(asks('What is this?', model, { parts }))).output_text;
  assert.match(await see([IMAGE]), /I see 1 image\./);
  assert.match(await see([IMAGE, IMAGE]), /I see 2 images\./);
});

feature('documents', { needs: 'documents' }, async (model) => {
  const reply = await create(asks('What is it?', model, { parts: [DOCUMENT] }));
  assert.match(reply.output_text, /You said: "What is it\?"\. I read 1 document\./);
});

feature('json_schema', async (model) => {
  const request = asks('An invoice, please', model, FORMAT);
  const whole = await responses.parse(request);
  assert.ok(INVOICE.safeParse(whole.output_parsed).success);
  assert.equal(whole.text.format.type, 'json_schema');
  const last = await finalOf(request);
  assert.deepEqual([last.output_parsed, called(last)], [whole.output_parsed, []]);
  const format = { type: 'json_schema', name: 'invoice', schema: z.toJSONSchema(INVOICE), strict: false };
  for (const text of [{ format }, { format, verbosity: 'low' }]) {
    const said = (await create({ ...request, text })).output_text;
    assert.ok(INVOICE.safeParse(JSON.parse(said)).success, said);
  }
});

feature('json_schema', { needs: 'tools' }, async (model) => {
  const asked = await responses.parse(asks('Use time_in', model, { ...FORMAT, tools: TOOLS }));
  assert.deepEqual([called(asked), asked.output_parsed], [['time_in'], null]);
  const said = await responses.parse(asks('An invoice, please', model, { ...FORMAT, tools: TOOLS }));
  assert.ok(INVOICE.safeParse(said.output_parsed).success);
});

feature('json_object', async (model) => {
  const reply = await create(asks('Answer in JSON', model, { text: { format: { type: 'json_object' } } }));
  assert.equal(typeof JSON.parse(reply.output_text), 'object');
});

feature('previous_response_id', async (model) => {
  let reply = await create(asks('One', model));
  const sizes = [reply.usage.input_tokens];
  for (const text of ['Two', 'Three', 'Four']) {
    const { id } = reply;
    reply = await create(asks(text, model, { previous_response_id: id }));
    assert.ok(reply.output_text.includes(`You said: "${text}".`));
    assert.equal(reply.previous_response_id, id);
    sizes.push(reply.usage.input_tokens);
  }
  const last = await finalOf(asks('Five', model, { previous_response_id: reply.id }));
  sizes.push(last.usage.input_tokens);
  assert.match(last.output_text, /You said: "Five"\./);
  for (const previous_response_id of [last.id, last.id]) {
    // A branch from amid the chain, from a response that was streamed.
    const branch = await create(asks('Six', model, { previous_response_id }));
    assert.ok(branch.usage.input_tokens > sizes.at(-1));
  }
  assert.ok(sizes.every((size, n) => n === 0 || size > sizes[n - 1]), `${sizes}`);
});

/** The error of a request that goes on from what is not known. OpenAI's own says 400. */
async function lost(request) {
  const error = await caught(OpenAI.APIError, () => create(request));
  assert.ok([400, 404].includes(error.status), `${error.status}`);
  assert.deepEqual([error.param, error.type], ['previous_response_id', 'invalid_request_error']);
  assert.ok(error.message.includes(request.previous_response_id), error.message);
  return error;
}

feature('previous_response_id', async (model) => {
  const forgotten = await create(asks('One', model, { store: false }));
  for (const previous_response_id of [UNKNOWN, forgotten.id]) {
    for (const stream of [false, true]) {
      const error = await lost(asks('Two', model, { previous_response_id, stream }));
      assert.ok(isPassed(model) || error.status === 404);
    }
  }
});

feature('retrieve, delete', async (model) => {
  const streamed = (await eventsOf(asks('Keep me', model))).at(-1).response;
  for (const made of [await create(asks('Keep me', model, { metadata: { a: 'b' } })), streamed]) {
    const { output_text: text, ...found } = await responses.retrieve(made.id);
    const { output_text: said, _request_id: id, ...first } = made;
    assert.deepEqual(found, first);
    assert.match(text, /Keep me/);
    await responses.delete(made.id);
    for (const ask of [
      () => responses.retrieve(made.id),
      () => responses.delete(made.id),
      () => responses.inputItems.list(made.id),
    ]) {
      const error = await caught(OpenAI.NotFoundError, ask);
      assert.ok(error.message.includes(made.id), error.message);
    }
    await lost(asks('More', model, { previous_response_id: made.id }));
  }
});

feature('retrieve, delete', async (model) => {
  for (const reply of [
    await create(asks('Forget me', model, { store: false })),
    (await eventsOf(asks('Forget me', model, { store: false }))).at(-1).response,
  ]) {
    assert.equal(reply.store, false);
    const error = await caught(OpenAI.NotFoundError, () => responses.retrieve(reply.id));
    assert.ok(error.message.includes(reply.id), error.message);
  }
});

feature('input_items', async (model) => {
  const input = [{ role: 'developer', content: 'Be brief.' }, user('One'), user(prompt('Two'))];
  const reply = await create({ model, input });
  const items = await all(responses.inputItems.list(reply.id));
  assert.deepEqual(items.map(({ role }) => role), ['user', 'user', 'developer']);
  assert.deepEqual(items.map(({ content }) => content[0].text).slice(1), ['One', 'Be brief.']);
  assert.ok(items.every(({ id, type }) => id && type === 'message'));
  const paged = await all(responses.inputItems.list(reply.id, { order: 'asc', limit: 1 }));
  assert.deepEqual(paged.map(({ id }) => id).reverse(), items.map(({ id }) => id));
  const { data } = await responses.inputItems.list((await create(asks('Hello', model))).id);
  assert.deepEqual(data.map(({ role, content }) => [role, content[0].type]), [['user', 'input_text']]);
});

// Where there is no such thing the answer is there at once.
feature('background', async (model) => {
  const asked = await create(asks('Take your time', model, { background: true })).withResponse();
  const { id, status, background } = asked.data;
  assert.deepEqual([status, background], isPassed(model) ? ['queued', true] : ['completed', false]);
  assert.ok(isPassed(model) || asked.response.headers.get('x-proxy-dropped').includes('background'));
  let reply = asked.data;
  for (let n = 0; n < 5 && ['queued', 'in_progress'].includes(reply.status); n++) reply = await responses.retrieve(id);
  assert.equal(reply.status, 'completed');
  assert.match(reply.output_text, /You said: "Take your time"\./);
  const more = await create(asks('More', model, { previous_response_id: id }));
  assert.match(more.output_text, /You said: "More"\./);
});

// Not of what is done or not known.
feature('background', async (model) => {
  if (isPassed(model)) {
    const { id } = await create(asks('Never mind', model, { background: true }));
    const halted = await responses.cancel(id);
    assert.deepEqual([halted.status, halted.model], ['cancelled', model]);
    assert.equal((await responses.retrieve(id)).status, 'cancelled');
  }
  const done = await create(asks('Hello', model));
  const error = await caught(OpenAI.BadRequestError, () => responses.cancel(done.id));
  assert.match(error.message, /cancel/i);
  for (const id of [UNKNOWN, 'nonsense']) {
    const { message } = await caught(OpenAI.NotFoundError, () => responses.cancel(id));
    assert.ok(message.includes(id), message);
  }
});

feature('reasoning', async (model) => {
  const expected = reasons(model) ? ['reasoning', 'message'] : ['message'];
  for (const more of [{}, { max_output_tokens: 32000 }, { store: false }]) {
    const request = asks('Think', model, { ...THINKS, ...more });
    const [whole, events, last] = [await create(request), await eventsOf(request), await finalOf(request)];
    assert.match(whole.output_text, /You said: "Think"\./);
    assert.equal(Boolean(thoughtOf(whole)), reasons(model));
    assert.deepEqual([kindsOf(whole), kindsOf(last)], [expected, expected]);
    assert.equal(deltas(events, 'reasoning_summary_text'), thoughtOf(whole));
    assert.equal(whole.reasoning.effort, 'low');
  }
  for (const effort of ['minimal', 'medium', 'high']) {
    assert.ok((await create(asks('Think', model, { reasoning: { effort } }))).output_text);
  }
});

// Nobody asked for a summary.
feature('reasoning', async (model) => {
  const reply = await create(asks('Think', model, { reasoning: { effort: 'high' } }));
  assert.ok(!thoughtOf(reply) && reply.output_text);
});

// What was thought comes back: encrypted, as an item that is kept, by the response's id, or not at all.
feature('reasoning + tools', { needs: 'tools' }, async (model) => {
  const ask = asks('Use weather_of and time_in', model, { tools: TOOLS, ...THINKS });
  for (const request of [{ ...ask, ...SEALED }, ask]) {
    for (const kept of [({ output }) => output, bare]) {
      const input = [user(request.input)];
      for (let round = 0; round < 2; round++) {
        const reply = await create({ ...request, input });
        assert.deepEqual([called(reply), Boolean(thoughtOf(reply))], [BOTH, reasons(model)]);
        const thoughts = itemsOf(reply, 'reasoning');
        assert.ok(!request.include || thoughts.every((item) => item.encrypted_content));
        input.push(...kept(reply), ...callsOf(reply).map((call) => result(call, 'fine')));
        const last = await create({ ...request, input });
        assert.match(last.output_text, /The tool says: fine · fine/);
        input.push(...kept(last), user(request.input));
      }
    }
  }
  const reply = (await eventsOf({ ...ask, include: SEALED.include })).at(-1).response;
  const results = callsOf(reply).map((call) => result(call, 'fine'));
  const references = reply.output.map(({ id }) => ({ type: 'item_reference', id }));
  for (const more of [
    { previous_response_id: reply.id, input: results },
    { input: [user(ask.input), ...reply.output, ...results] },
    { input: [user(ask.input), ...references, ...results] },
  ]) {
    const events = await eventsOf({ ...ask, ...more });
    assert.match(deltas(events, 'output_text'), /fine · fine/);
  }
});

/** A conversation that this model began, with all that it said. */
async function started(model) {
  const request = asks('Use weather_of and time_in', model, { tools: TOOLS, ...THINKS, ...SEALED });
  const reply = await create(request);
  return [user(request.input), ...reply.output, ...callsOf(reply).map((call) => result(call, 'fine'))];
}

// Back and forth: what the first said goes to the second, and what that said with it to the first.
feature('change of model', async (model) => {
  const more = { tools: TOOLS, ...THINKS, ...SEALED };
  for (const other of Object.keys(MODELS).filter((name) => isAble(name, 'tools'))) {
    const input = await started(other);
    const reply = await create({ model, input, ...(isAble(model, 'tools') ? more : SEALED) });
    assert.match(reply.output_text, /fine/, other);
    input.push(...reply.output, user(prompt('Now time_in')));
    assert.deepEqual(called(await create({ model: other, input, ...more })), ['time_in'], other);
  }
});

// Kept here for all models; of what AI Core keeps only one that has it there can go on.
feature('change of model', async (model) => {
  const ours = await create(asks('One', 'gemini-2.5-flash'));
  const reply = await create(asks('Two', model, { previous_response_id: ours.id }));
  assert.match(reply.output_text, /You said: "Two"\./);
  const theirs = await create(asks('One', 'gpt-5'));
  const request = asks('Two', model, { previous_response_id: theirs.id });
  if (model === 'gpt-5') assert.ok((await create(request)).output_text);
  else await lost(request);
});

feature('compact', async (model) => {
  const said = [user('One'), { role: 'assistant', content: 'Two' }, user(prompt('Three'))];
  const kept = await create({ model, input: said });
  for (const more of [{ input: said }, { previous_response_id: kept.id, input: [user(prompt('Four'))] }]) {
    const short = await responses.compact({ model, instructions: 'Be brief.', ...more });
    assert.equal(short.object, 'response.compaction');
    assert.ok(short.id.startsWith('resp_') && short.usage.input_tokens > 0 && short.usage.output_tokens > 0);
    const last = short.output.at(-1);
    assert.ok(last.type === 'compaction' && last.encrypted_content && last.id.startsWith('cmp_'));
    assert.ok(short.output.slice(0, -1).every(({ role }) => role === 'user'));
    const request = { model, input: [...short.output, user(prompt('Five'))] };
    for (const reply of [await create(request), (await eventsOf({ ...request, store: false })).at(-1).response]) {
      const [{ text }] = itemsOf(reply, 'message')[0].content;
      assert.match(text, isPassed(model) ? /Five"\./ : /summary[^]*Five"\./);
    }
  }
});

feature('length', async (model) => {
  const request = asks('A long tale', model, { max_output_tokens: 16 });
  const [whole, events, last] = [await create(request), await eventsOf(request), await finalOf(request)];
  const text = deltas(events, 'output_text');
  for (const each of [whole, events.at(-1).response, last]) {
    assert.deepEqual([each.status, each.incomplete_details], ['incomplete', { reason: 'max_output_tokens' }]);
    assert.ok(each.usage.output_tokens > 0 && each.usage.output_tokens <= 16);
    assert.deepEqual([each.max_output_tokens, each.output.at(-1).status], [16, 'incomplete']);
  }
  assert.deepEqual([whole.output_text, last.output_text], [text, text]);
});

// An item of an unknown type is left out by name: there will be new ones.
feature('errors', async (model) => {
  const nonsense = { type: 'nonsense' };
  const { response } = await create({ model, input: [user(prompt('Hello')), nonsense] }).withResponse();
  assert.match(response.headers.get('x-proxy-dropped'), /input\[\] of type nonsense/);
  for (const [more, path] of [
    [{ input: 5 }, 'input'],
    [{ input: [5] }, 'input[0]'],
    [{ input: [user([nonsense])] }, 'input[0].content'],
    [{ max_output_tokens: 'many' }, 'max_output_tokens'],
    [{ instructions: 7 }, 'instructions'],
    [{ tools: 'all' }, 'tools'],
    [{ text: { format: nonsense } }, 'text.format'],
    [{ reasoning: { effort: 7 } }, 'reasoning.effort'],
    [{ previous_response_id: 7 }, 'previous_response_id'],
  ]) {
    const error = await caught(OpenAI.BadRequestError, () => create(asks('Hello', model, more)));
    assert.equal(error.type, 'invalid_request_error');
    assert.ok(error.param?.startsWith(path) && error.message && error.requestID, error.message);
  }
  for (const [fault, kind] of [
    ['status=400', OpenAI.BadRequestError],
    ['status=413', OpenAI.APIError],
    ['status=429 retry_after=7', OpenAI.RateLimitError],
    ['status=500', OpenAI.InternalServerError],
    ['status=503', OpenAI.InternalServerError],
    ['no_answer', OpenAI.InternalServerError],
  ]) {
    for (const stream of [false, true]) {
      const error = await caught(kind, () => create(asks('Hello', model, { fault, stream })));
      assert.ok(error.message && error.requestID && error.status);
      if (error.status === 429) assert.equal(error.headers.get('retry-after'), '7');
    }
  }
  const refused = () => create(asks('Hello', model, { fault: 'status=403' }));
  const error = await caught(OpenAI.InternalServerError, refused);
  assert.equal(error.status, 502);
  assert.match(error.message, /service key/);
});

feature('errors', { models: ['gpt-4o'] }, async (model) => {
  const stranger = client.withOptions({ apiKey: 'sk-wrong' }).responses;
  for (const stream of [false, true]) {
    const error = await caught(OpenAI.NotFoundError, () => create(asks('Hello', 'gpt-0', { stream })));
    assert.deepEqual([error.code, error.param], ['model_not_found', 'model']);
    const ask = () => stranger.create(asks('Hello', model, { stream }));
    assert.equal((await caught(OpenAI.AuthenticationError, ask)).code, 'invalid_api_key');
  }
  for (const ask of ['retrieve', 'delete', 'cancel']) {
    await caught(OpenAI.AuthenticationError, () => stranger[ask](UNKNOWN));
    const { message } = await caught(OpenAI.NotFoundError, () => responses[ask](UNKNOWN));
    assert.ok(message.includes(UNKNOWN), message);
  }
  await caught(OpenAI.AuthenticationError, () => stranger.inputItems.list(UNKNOWN));
});

feature('errors in streams', async (model) => {
  // Nothing was sent yet, so it can still be the status that it means to the vendor.
  const first = () => create(asks('Hello', model, { fault: 'error_after=0', stream: true }));
  const { status } = await caught(OpenAI.APIError, first);
  assert.ok(status === 429 || status >= 500, `${status}`);
  for (const fault of ['error_after=20', 'cut_after=20', 'end_after=20']) {
    const request = asks('Hello', model, { fault: `frames=500 pause_ms=0 ${fault}` });
    const events = begun(await all(await create({ ...request, stream: true })));
    const { type, response } = events.at(-1);
    assert.equal(type, 'response.failed');
    assert.ok(response.error.code && response.error.message, fault);
    assert.match(deltas(events, 'output_text'), /^word1 word2 /, fault);
    assert.equal((await finalOf(request)).status, 'failed');
  }
});

/** A request as Cursor has it: at the wrong path. */
function cursors(model, more) {
  const told = { role: 'system', content: 'You are a coding assistant.' };
  const said = user([{ type: 'input_text', text: prompt('Use time_in, please') }]);
  const { include, store } = SEALED;
  const metadata = { cursorConversationId: 'x' };
  const stream_options = { include_usage: true };
  return { model, input: [told, said], user: 'x', store, include, stream_options, metadata, ...THINKS, ...more };
}

/** The answers to a body, whole and streamed. */
async function chat(body) {
  const whole = await client.post('/chat/completions', { body });
  const stream = await client.post('/chat/completions', { body: { ...body, stream: true }, stream: true });
  return [whole, await all(stream)];
}

feature("Cursor's habit", async (model) => {
  const [whole, chunks] = await chat(cursors(model));
  const [choice] = whole.choices;
  assert.deepEqual([whole.object, whole.model, choice.finish_reason], ['chat.completion', model, 'stop']);
  assert.match(choice.message.content, /You said: "Use time_in, please"\./);
  assert.equal(textOf(chunks), choice.message.content);
  assert.ok(chunks.every(({ object }) => object === 'chat.completion.chunk'));
  assert.equal(chunks.at(-1).usage.prompt_tokens, whole.usage.prompt_tokens);
});

feature("Cursor's habit", { needs: 'tools' }, async (model) => {
  const body = cursors(model, { tools: TOOLS, tool_choice: 'auto' });
  const [whole, chunks] = await chat(body);
  const [{ message, finish_reason: end }] = whole.choices;
  const [call, ...others] = message.tool_calls;
  assert.deepEqual([call.type, call.function.name, end, others], ['function', 'time_in', 'tool_calls', []]);
  assert.ok('city' in JSON.parse(call.function.arguments));
  const pieces = chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? []);
  assert.equal(pieces.map((piece) => piece.function.name ?? '').join(''), 'time_in');
  const asked = { type: 'function_call', call_id: call.id, ...call.function };
  const [last, rest] = await chat({ ...body, input: [...body.input, asked, result(asked, 'noon')] });
  assert.match(last.choices[0].message.content, /The tool says: noon/);
  assert.equal(textOf(rest), last.choices[0].message.content);
});

/** One frame of one raw block: all that Node 20 can make of zstd. */
function zstd(content) {
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32LE(content.length, 5);
  head.writeUIntLE(content.length * 8 + 1, 9, 3);
  return Buffer.concat([head, content]);
}

feature('compressed requests', async (model) => {
  const content = Buffer.from(JSON.stringify(asks('Hello', model)));
  for (const [encoding, body] of [
    ['gzip', gzipSync(content)],
    ['zstd', zstd(content)],
  ]) {
    const authorization = `Bearer ${KEY}`;
    const headers = { authorization, 'content-type': 'application/json', 'content-encoding': encoding };
    const reply = await fetch(`${proxy.baseURL}/responses`, { method: 'POST', headers, body });
    const text = await reply.text();
    assert.equal(reply.status, 200, text);
    assert.ok(text.includes('You said: \\"Hello\\".'), text);
  }
});

feature('AzureOpenAI', async (model) => {
  const at = { endpoint: proxy.rootURL, apiKey: KEY, apiVersion: '2025-04-01-preview' };
  const azure = new AzureOpenAI(at).responses;
  const whole = await azure.create(asks('Hello', model));
  const events = checked(await all(await azure.create(asks('Hello', model, { stream: true }))));
  assert.equal(deltas(events, 'output_text'), whole.output_text);
  assert.equal((await azure.retrieve(whole.id)).output_text, whole.output_text);
});

// What a vendor does not have is refused by name, and nothing silently left out.
feature.refused(LEAST, async (model, ability, field) => {
  for (const stream of [false, true]) {
    const ask = () => create(asks('Hello', model, { ...LEAST[ability], stream }));
    const error = await caught(OpenAI.BadRequestError, ask);
    assert.ok(error.message.includes(field), error.message);
  }
});
