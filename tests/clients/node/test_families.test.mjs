// What the official Node SDK can do with every family. test_families.py is the same list for Python.

import assert from 'node:assert/strict';
import { before } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { INVOICE, PDF, PIXEL, TOOLS, all, called, caught, prompt, result, says, textOf, turn } from './asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';

const CHAT = FAMILIES.chat;
const feature = suite('families', 'openai for Node', CHAT);
const ODD = 'It\'s "odd": {{?x}} {% if %} \\n \t 👋\u200b é\nline 2';
const IMAGE = { type: 'image_url', image_url: { url: PIXEL, detail: 'low' } };
const FILE = { type: 'file', file: { filename: 'a.pdf', file_data: PDF } };
const JSON_OBJECT = { response_format: { type: 'json_object' } };
const SCHEMA = { response_format: zodResponseFormat(INVOICE, 'invoice') };

// The least request for what a vendor may not have.
const LEAST = {
  tools: { tools: TOOLS },
  vision: { parts: [IMAGE] },
  documents: { parts: [FILE] },
  json_schema: SCHEMA,
  json_object: JSON_OBJECT,
  stop: { stop: ['stop'] },
};

let client;

before(async () => {
  const proxy = await Proxy.start('--debug');
  client = new OpenAI({ baseURL: proxy.baseURL, apiKey: KEY, maxRetries: 0 });
});

const chat = (request) => client.chat.completions.create(request);
const choice = async (request) => (await chat(request)).choices[0];
const message = async (request) => (await choice(request)).message;
const chunksOf = async (request) => all(await chat({ ...request, stream: true }));

feature('chat', async (model) => {
  const reply = await chat(says(ODD, model));
  const [{ message, finish_reason }] = reply.choices;
  assert.ok(message.content.includes(`You said: "${ODD}".`), message.content);
  assert.deepEqual([message.role, finish_reason], ['assistant', 'stop']);
  assert.ok(!message.tool_calls?.length);
  assert.deepEqual([reply.object, reply.model], ['chat.completion', model]);
  assert.ok(reply.id && Math.abs(reply.created - Date.now() / 1000) < 60);
  assert.ok(await choice({ model, messages: says('Hello', model).messages }));
});

feature('settings', async (model) => {
  const usual = { temperature: 0.3, top_p: 0.9, presence_penalty: 0.1, frequency_penalty: 0.1 };
  const more = { seed: 7, user: 'somebody', n: 1, max_tokens: 300, max_completion_tokens: 300 };
  const unset = { tools: null, stop: null, response_format: null, stream: null, top_p: null };
  for (const settings of [{ ...usual, ...more }, unset]) {
    assert.match((await message(says('Hello', model, settings))).content, /You said: "Hello"\./);
  }
});

feature('history', async (model) => {
  const texts = ['Two', 'Three'].map((text) => ({ type: 'text', text }));
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'assistant', content: 'How can I help?' },
    { role: 'user', content: 'One' },
    { role: 'user', content: texts },
    { role: 'assistant', content: '' },
    { role: 'user', content: '' },
    { role: 'user', content: prompt('Four') },
    { role: 'developer', content: 'Do be brief.' },
  ];
  const begun = { role: 'assistant', content: 'As I was saying, ' };
  for (const ask of [messages, [...messages, begun], [messages[0], messages[7]]]) {
    assert.ok((await message(says('', model, { messages: ask }))).content);
  }
  assert.match((await message(says('', model, { messages }))).content, /Four/);
});

feature('stream', async (model) => {
  const { content } = await message(says(ODD, model));
  const chunks = await chunksOf(says(ODD, model));
  assert.equal(textOf(chunks), content);
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
  for (const chunk of chunks) {
    const own = [chunks[0].id, model, 'chat.completion.chunk'];
    assert.deepEqual([chunk.id, chunk.model, chunk.object], own);
  }
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  const reasons = chunks.map((chunk) => chunk.choices[0].finish_reason);
  assert.equal(reasons.pop(), 'stop');
  assert.ok(reasons.every((reason) => !reason));
  const stream = client.chat.completions.stream(says(ODD, model));
  let deltas = '';
  stream.on('content', (delta) => (deltas += delta));
  assert.equal((await stream.finalChatCompletion()).choices[0].message.content, content);
  assert.equal(deltas, content);
});

feature('stream', async (model) => {
  const arrivals = [];
  const request = says('', model, { fault: 'frames=60 pause_ms=15', stream: true });
  for await (const chunk of await chat(request)) {
    if (chunk.choices[0].delta.content) arrivals.push(performance.now());
  }
  const middle = arrivals[arrivals.length >> 1];
  // Orchestration sends a few words at a time.
  assert.ok(arrivals.length > 5, `${arrivals}`);
  assert.ok(middle - arrivals[0] > 30 && arrivals.at(-1) - middle > 30, `${arrivals}`);
});

feature('stream', async (model) => {
  const request = says('', model, { fault: 'frames=1000 pause_ms=20', stream: true });
  for await (const chunk of await chat(request)) {
    assert.ok(chunk);
    break;
  }
  assert.ok(await choice(says('Still there?', model)));
});

/** Not the details: of the same request the second time some may be cached. */
const sums = (usage) => [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens];

feature('usage', async (model) => {
  const { usage } = await chat(says('Count me', model));
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  const stream_options = { include_usage: true };
  const chunks = await chunksOf(says('Count me', model, { stream_options }));
  const last = chunks.pop();
  assert.deepEqual([last.choices, sums(last.usage)], [[], sums(usage)]);
  assert.ok(chunks.every((chunk) => !chunk.usage));
});

feature('tools', { needs: 'tools' }, async (model) => {
  const first = await choice(says('Please use weather_of', model, { tools: TOOLS }));
  // Some vendors' models say something first; if not, there is no content, not an empty one.
  assert.equal(first.finish_reason, 'tool_calls');
  assert.notEqual(first.message.content, '');
  const [call, ...others] = first.message.tool_calls;
  assert.deepEqual([call.type, call.function.name, others], ['function', 'weather_of', []]);
  assert.ok('city' in JSON.parse(call.function.arguments));
  assert.match(call.id, /^[A-Za-z0-9_-]{1,64}$/);
  const plain = await choice(says('Hello', model, { tools: TOOLS }));
  assert.ok(plain.finish_reason === 'stop' && plain.message.content && !called(plain.message).length);
  const tools = [{ type: 'function', function: { name: 'now' } }];
  assert.deepEqual(called(await message(says('now', model, { tools }))), ['now']);
});

/** The tool calls of a stream, and how it ended. */
function gathered(chunks) {
  const calls = [];
  const reasons = [];
  for (const { choices: [{ delta, finish_reason }] } of chunks) {
    if (finish_reason) reasons.push(finish_reason);
    for (const { index, ...part } of delta.tool_calls ?? []) {
      if (index in calls) {
        assert.ok(!part.id && !part.function.name);
        calls[index].function.arguments += part.function.arguments;
      } else {
        assert.ok(index === calls.length && part.id && part.type && part.function.name);
        part.function.arguments ??= '';
        calls.push(part);
      }
    }
  }
  return { calls, reasons };
}

const BOTH = ['weather_of', 'time_in'];

feature('parallel', { needs: 'tools' }, async (model) => {
  const request = says('Use weather_of and time_in', model, { tools: TOOLS });
  const { calls, reasons } = gathered(await chunksOf(request));
  const whole = await choice(request);
  for (const each of [calls, whole.message.tool_calls]) {
    assert.deepEqual(each.map((call) => call.function.name), BOTH);
    assert.ok(each.every((call) => 'city' in JSON.parse(call.function.arguments)));
    assert.notEqual(each[0].id, each[1].id);
  }
  assert.deepEqual([...reasons, whole.finish_reason], ['tool_calls', 'tool_calls']);
});

feature('tool loop', { needs: 'tools' }, async (model) => {
  const request = says('Use weather_of and time_in', model, { tools: TOOLS });
  for (const kept of [turn, (m) => m, (m) => ({ ...turn(m), content: '' })]) {
    const asked = await message(request);
    const [weather, clock] = asked.tool_calls;
    const answers = [result(clock, [{ type: 'text', text: 'noon' }]), result(weather, 'sunny')];
    const messages = [...request.messages, kept(asked), ...answers];
    const last = await choice({ ...request, messages });
    assert.equal(last.finish_reason, 'stop');
    assert.match(last.message.content, /sunny/);
    assert.match(last.message.content, /noon/);
    assert.equal(textOf(await chunksOf({ ...request, messages })), last.message.content);
    messages.push(last.message, ...says('Now time_in again', model).messages);
    assert.deepEqual(called(await message({ ...request, messages })), ['time_in']);
  }
});

// A conversation that another model began, and a client that offers the tools no more.
feature('tool loop', { needs: 'tools' }, async (model) => {
  const calls = [
    ['call_0123456789abcdefghijABCD', 'weather_of', ''],
    ['toolu_bdrk_01AbCdEfGhIjKlMnOpQrStUv', 'time_in', '{"city": "Rome"}'],
  ].map(([id, name, json]) => ({ id, type: 'function', function: { name, arguments: json } }));
  const messages = [
    ...says('Well?', model).messages,
    { role: 'assistant', content: 'Let me see.', tool_calls: calls },
    result(calls[0], ''),
    result(calls[1], 'noon'),
  ];
  for (const more of [{}, { tools: TOOLS }]) {
    assert.match((await message(says('', model, { messages, ...more }))).content, /noon/);
  }
});

feature('tool choice', { needs: 'tools' }, async (model) => {
  const calls = async (text, more) => {
    return called(await message(says(text, model, { tools: TOOLS, ...more })));
  };
  const both = 'weather_of and time_in';
  assert.deepEqual(await calls(both, { tool_choice: 'none' }), []);
  assert.deepEqual(await calls('Hello', { tool_choice: 'auto' }), []);
  assert.deepEqual(await calls('Hello', { tool_choice: 'required' }), ['weather_of']);
  const named = { type: 'function', function: { name: 'time_in' } };
  assert.deepEqual(await calls('Hello', { tool_choice: named }), ['time_in']);
});

feature('one call at a time', { needs: 'tools' }, async (model) => {
  for (const [parallel_tool_calls, expected] of [[true, BOTH], [false, ['weather_of']]]) {
    const request = says('weather_of and time_in', model, { tools: TOOLS, parallel_tool_calls });
    const { message, finish_reason } = await choice(request);
    assert.deepEqual([called(message), finish_reason], [expected, 'tool_calls']);
    const { calls } = gathered(await chunksOf(request));
    assert.deepEqual(calls.map((call) => call.function.name), expected);
  }
});

feature('vision', { needs: 'vision' }, async (model) => {
  const one = await message(says('What is this?', model, { parts: [IMAGE] }));
  const two = await message(says('And these?', model, { parts: [IMAGE, IMAGE] }));
  assert.match(one.content, /I see 1 image\./);
  assert.match(two.content, /I see 2 images\./);
});

feature('documents', { needs: 'documents' }, async (model) => {
  const request = says('What is it?', model, { parts: [FILE] });
  assert.match((await message(request)).content, /You said: "What is it\?"\. I read 1 document\./);
});

feature('json_schema', { needs: 'json_schema' }, async (model) => {
  const request = says('An invoice, please', model, SCHEMA);
  const [whole] = (await client.chat.completions.parse(request)).choices;
  const [streamed] = (await client.chat.completions.stream(request).finalChatCompletion()).choices;
  for (const { message, finish_reason } of [whole, streamed]) {
    assert.ok(INVOICE.safeParse(message.parsed).success);
    assert.deepEqual([finish_reason, called(message)], ['stop', []]);
  }
  assert.equal(streamed.message.content, whole.message.content);
});

feature('json_schema', { needs: 'tools' }, async (model) => {
  const more = { ...SCHEMA, tools: TOOLS };
  assert.deepEqual(called(await message(says('Use time_in', model, more))), ['time_in']);
  const { content } = await message(says('An invoice, please', model, more));
  assert.ok(INVOICE.safeParse(JSON.parse(content)).success);
});

feature('json_object', { needs: 'json_object' }, async (model) => {
  const request = says('Answer in JSON', model, JSON_OBJECT);
  const { content } = await message(request);
  assert.equal(typeof JSON.parse(content), 'object');
  assert.equal(textOf(await chunksOf(request)), content);
});

feature('reasoning', async (model) => {
  const request = says('Think', model, { reasoning_effort: 'low' });
  const reply = await chat(request);
  const { content, reasoning_content } = reply.choices[0].message;
  const thought = reasoning_content ?? '';
  assert.match(content, /You said: "Think"\./);
  assert.equal(Boolean(thought), CHAT[model].reasons === 'shown');
  assert.ok(!thought || !content.includes(thought));
  if (CHAT[model].reasons === 'unseen') {
    const low = reply.usage.completion_tokens_details.reasoning_tokens;
    const more = (await chat({ ...request, reasoning_effort: 'high' })).usage;
    assert.ok(0 < low && low < more.completion_tokens_details.reasoning_tokens);
  }
  const chunks = await chunksOf(request);
  const deltas = chunks.map((chunk) => chunk.choices[0].delta);
  assert.equal(deltas.map((delta) => delta.reasoning_content ?? '').join(''), thought);
  assert.equal(textOf(chunks), content);
  const said = deltas.slice(deltas.findIndex((delta) => delta.content));
  assert.ok(said.every((delta) => !delta.reasoning_content));
  // Less than some vendors think of at least.
  assert.ok(await choice({ ...request, max_tokens: 500, reasoning_effort: 'high' }));
});

feature('reasoning + tools', { needs: 'tools' }, async (model) => {
  const request = says('Use weather_of and time_in', model, { tools: TOOLS, reasoning_effort: 'low' });
  for (const kept of [turn, (m) => m]) {
    const messages = [...request.messages];
    for (let round = 0; round < 2; round++) {
      const asked = await message({ ...request, messages });
      assert.deepEqual(called(asked), BOTH);
      messages.push(kept(asked), ...asked.tool_calls.map((call) => result(call, 'fine')));
      const last = await message({ ...request, messages });
      assert.match(last.content, /The tool says: fine · fine/);
      messages.push(kept === turn ? { role: 'assistant', content: last.content } : last);
      messages.push(...request.messages);
    }
  }
  const { calls } = gathered(await chunksOf(request));
  const answers = calls.map((call) => result(call, 'fine'));
  const messages = [...request.messages, { role: 'assistant', tool_calls: calls }, ...answers];
  assert.match(textOf(await chunksOf({ ...request, messages })), /fine · fine/);
  assert.ok(called(await message({ ...request, tool_choice: 'required' })).length);
});

/** The conversation that a model began, with all that it said. */
async function begun(model) {
  const request = says('Use weather_of and time_in', model, { tools: TOOLS, reasoning_effort: 'low' });
  const said = await message(request);
  return [...request.messages, said, ...said.tool_calls.map((call) => result(call, 'fine'))];
}

feature('change of model', async (model) => {
  const isAble = (name) => !CHAT[name].lacks?.tools;
  const more = isAble(model) ? { tools: TOOLS, reasoning_effort: 'low' } : {};
  for (const other of Object.keys(CHAT).filter(isAble)) {
    const { content } = await message(says('', model, { messages: await begun(other), ...more }));
    assert.match(content, /fine/, other);
  }
});

feature('length', async (model) => {
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    const request = { model, messages: says('A long tale', model).messages, [name]: 16 };
    const reply = await chat(request);
    assert.equal(reply.choices[0].finish_reason, 'length');
    assert.ok(0 < reply.usage.completion_tokens && reply.usage.completion_tokens <= 16);
    const chunks = await chunksOf(request);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'length');
    assert.equal(textOf(chunks), reply.choices[0].message.content ?? '');
  }
});

feature('stop', { needs: 'stop' }, async (model) => {
  for (const stop of ['HALT', ['never said', 'HALT']]) {
    const request = says('Come HALT go', model, { stop });
    const { message, finish_reason } = await choice(request);
    assert.deepEqual([finish_reason, message.content.trim()], ['stop', 'You said: "Come']);
    assert.equal(textOf(await chunksOf(request)), message.content);
  }
});

feature('errors', async (model) => {
  for (const more of [{ messages: [] }, { max_tokens: 'many' }, { stream: 'yes' }, { messages: 'Hi' }]) {
    const error = await caught(OpenAI.BadRequestError, () => chat(says('Hello', model, more)));
    assert.equal(error.type, 'invalid_request_error');
  }
  for (const [fault, kind] of [
    ['status=400', OpenAI.BadRequestError],
    ['status=429 retry_after=7', OpenAI.RateLimitError],
    ['status=500', OpenAI.InternalServerError],
    ['status=503', OpenAI.InternalServerError],
    ['no_answer', OpenAI.InternalServerError],
  ]) {
    for (const stream of [false, true]) {
      const error = await caught(kind, () => chat(says('Hello', model, { fault, stream })));
      assert.ok(error.message && error.type, fault);
      if (error.status === 429) assert.equal(error.headers.get('retry-after'), '7');
    }
  }
  const refused = () => chat(says('Hello', model, { fault: 'status=403' }));
  const error = await caught(OpenAI.InternalServerError, refused);
  assert.equal(error.status, 502);
  assert.match(error.message, /service key/);
});

feature('errors in streams', async (model) => {
  const first = () => chat(says('Hello', model, { fault: 'error_after=0', stream: true }));
  // Nothing was sent yet, so it can still be the status that it means to the vendor.
  const error = await caught(OpenAI.APIError, first);
  assert.ok(error.status === 429 || error.status >= 500);
  for (const fault of ['error_after=40', 'cut_after=40', 'end_after=40']) {
    const seen = [];
    await caught(OpenAI.APIError, async () => {
      const more = { fault: `frames=500 pause_ms=1 ${fault}`, stream: true };
      for await (const chunk of await chat(says('Hello', model, more))) seen.push(chunk);
    });
    assert.match(textOf(seen), /^word1 word2 /, fault);
    assert.ok(seen.every((chunk) => !chunk.choices[0].finish_reason), fault);
  }
});

// What a vendor does not have is refused by name, or left out by name, and nothing silently.
feature.refused(LEAST, async (model, ability, field) => {
  for (const stream of [false, true]) {
    const ask = () => chat(says('Hello', model, { ...LEAST[ability], stream }));
    if (CHAT[model].drops?.includes(ability)) {
      const { response } = await ask().withResponse();
      assert.ok(response.headers.get('x-proxy-dropped').includes(field));
      continue;
    }
    const error = await caught(OpenAI.BadRequestError, ask);
    assert.ok(`${error.param} ${error.message}`.includes(field), error.message);
  }
});
