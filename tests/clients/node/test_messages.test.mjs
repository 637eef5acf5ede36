// What Anthropic's Node SDK can do with every family. test_messages.py is the same list for Python.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { INVOICE, all, caught, prompt } from './asks.mjs';
import {
  ADAPTS,
  DOCUMENT,
  IMAGE,
  NOTE,
  THINKS,
  TOOLS,
  asks,
  bareTurn,
  called,
  callsOf,
  checked,
  deltas,
  result,
  script,
  textOf,
  thoughtOf,
  turn,
  user,
} from './messages_asks.mjs';
import { FAMILIES, KEY, Proxy, suite } from './proxy.mjs';

const CHAT = FAMILIES.chat;
const feature = suite('messages', 'anthropic for Node', CHAT);
const ODD = 'It\'s "odd": {{?x}} {% if %} \\n \t 👋\u200b é\nline 2';
const BOTH = ['weather_of', 'time_in'];
const FORMAT = { output_config: { format: zodOutputFormat(INVOICE) } };

// The least request for what a vendor may not have.
const LEAST = {
  tools: { tools: TOOLS },
  vision: { parts: [IMAGE] },
  documents: { parts: [DOCUMENT] },
  stop: { stop_sequences: ['stop'] },
};

let client;

before(async () => {
  const proxy = await Proxy.start('--debug');
  client = new Anthropic({ baseURL: proxy.rootURL, apiKey: KEY, maxRetries: 0 });
});

const create = (request) => client.messages.create(request);
const eventsOf = async (request) => checked(await all(await create({ ...request, stream: true })));
const finalOf = (request) => client.messages.stream(request).finalMessage();
const isClaude = (model) => model.startsWith('anthropic--');
const lacks = (model, ability) => CHAT[model].lacks?.[ability];

feature('chat', async (model) => {
  const reply = await create(asks(ODD, model));
  const [block, ...others] = reply.content.filter(({ type }) => type !== 'thinking');
  assert.deepEqual([block.type, others], ['text', []]);
  assert.ok(block.text.includes(`You said: "${ODD}".`), block.text);
  assert.deepEqual([reply.type, reply.role, reply.stop_reason], ['message', 'assistant', 'end_turn']);
  assert.ok(!reply.stop_sequence && reply.id && reply.model && reply._request_id);
  const least = { model, max_tokens: 1000, messages: [user(prompt('Hello'))] };
  assert.ok(textOf(await create(least)));
});

feature('settings', async (model) => {
  const usual = { temperature: 0.3, top_k: 40, metadata: { user_id: '{"device_id":"x"}' } };
  const more = { top_p: 0.9, service_tier: 'auto', stop_sequences: [], tools: [] };
  const off = { thinking: { type: 'disabled' } };
  const unknown = { context_management: { edits: [] }, no_such_field: 1 };
  for (const settings of [usual, more, off, unknown]) {
    assert.match(textOf(await create(asks('Hello', model, settings))), /You said: "Hello"\./);
  }
});

feature('history', async (model) => {
  const texts = ['Two', 'Three'].map((text) => ({ type: 'text', text }));
  const messages = [
    user('One'),
    user(texts),
    { role: 'assistant', content: [{ type: 'text', text: 'How can I help?' }] },
    user(prompt('Four')),
  ];
  const told = { type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } };
  for (const system of ['Be brief.', [told], [told, { type: 'text', text: 'Be nice.' }]]) {
    assert.match(textOf(await create(asks('', model, { messages, system }))), /Four/);
  }
  const amid = [...messages.slice(0, 3), { role: 'system', content: 'Do be brief.' }, messages[3]];
  const begun = [...messages, { role: 'assistant', content: 'As I was saying,' }];
  for (const odd of [amid, begun, [{ role: 'assistant', content: 'Hello' }, messages[3]]]) {
    assert.ok(textOf(await create(asks('', model, { messages: odd }))));
  }
});

feature('stream', async (model) => {
  const whole = await create(asks(ODD, model));
  const events = await eventsOf(asks(ODD, model));
  assert.equal(deltas(events, 'text_delta', 'text'), textOf(whole));
  assert.equal(events.at(-2).delta.stop_reason, 'end_turn');
  let pieces = '';
  const streamed = client.messages.stream(asks(ODD, model)).on('text', (piece) => (pieces += piece));
  const last = await streamed.finalMessage();
  assert.deepEqual([pieces, textOf(last)], [textOf(whole), textOf(whole)]);
  assert.deepEqual(last.content.map((block) => block.type), whole.content.map((block) => block.type));
  assert.ok(streamed.request_id && last.model === whole.model);
});

feature('stream', async (model) => {
  const arrivals = [];
  const request = asks('', model, { fault: 'frames=60 pause_ms=9' });
  const streamed = client.messages.stream(request).on('text', () => arrivals.push(performance.now()));
  await streamed.done();
  const middle = arrivals[arrivals.length >> 1];
  // Orchestration sends a few words at a time.
  assert.ok(arrivals.length > 5, `${arrivals}`);
  assert.ok(middle - arrivals[0] > 30 && arrivals.at(-1) - middle > 30, `${arrivals}`);
});

feature('stream', async (model) => {
  const request = asks('', model, { fault: 'frames=1000 pause_ms=20', stream: true });
  for await (const event of await create(request)) {
    assert.ok(event);
    break;
  }
  assert.ok(textOf(await create(asks('Still there?', model))));
});

/** Of the same request the second time some may be cached. */
function sums(usage) {
  const cached = (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
  return [usage.input_tokens + cached, usage.output_tokens];
}

feature('usage', async (model) => {
  const { usage } = await create(asks('Count me', model));
  assert.ok(Math.min(...sums(usage)) > 0);
  assert.deepEqual(sums((await finalOf(asks('Count me', model))).usage), sums(usage));
});

// Every model takes the points; Claude uses them.
feature('prompt cache', async (model) => {
  const point = { cache_control: { type: 'ephemeral' } };
  const system = [{ type: 'text', text: `${randomUUID()} ${'Be kind. '.repeat(3000)}`, ...point }];
  const tools = lacks(model, 'tools') ? [] : [TOOLS[0], { ...TOOLS[1], ...point }];
  const messages = [user([{ type: 'text', text: prompt('Hello'), ...point }])];
  const request = asks('', model, { system, tools, messages });
  const first = (await create(request)).usage;
  const later = [(await create(request)).usage, (await finalOf(request)).usage];
  for (const usage of later) assert.deepEqual(sums(usage), sums(first));
  if (model.includes('anthropic--')) {
    // The tools alone may have been there before.
    assert.ok(first.cache_creation_input_tokens > 3000 && (first.cache_read_input_tokens ?? 0) < 300);
    for (const usage of later) {
      assert.ok(usage.cache_read_input_tokens > 3000);
      assert.ok(!isClaude(model) || usage.input_tokens < 1000);
    }
  }
});

feature('count_tokens', async (model) => {
  async function count(text, more) {
    const { max_tokens, ...request } = asks(text, model, more);
    return (await client.messages.countTokens(request)).input_tokens;
  }
  const tale = 'Hello there, how are you today? '.repeat(200);
  const [short, long] = [await count('Hello'), await count(tale)];
  assert.ok(0 < short && short < 200 && 800 < long && long < 4000, `${short} ${long}`);
  assert.ok((await count('Hello', { system: 'Be brief, be nice, be quick.' })) > short);
  const messages = [user('Hello'), { role: 'assistant', content: 'Hi' }, user('How are you today?')];
  assert.ok((await count('', { messages })) > 0);
  if (!lacks(model, 'tools')) assert.ok((await count('Hello', { tools: TOOLS })) > short + 20);
  if (!lacks(model, 'vision')) assert.ok((await count('Hello', { parts: [IMAGE] })) > short);
  assert.ok(long / 3 < (await create(asks(tale, model))).usage.input_tokens);
});

feature('tools', { needs: 'tools' }, async (model) => {
  const reply = await create(asks('Please use weather_of', model, { tools: TOOLS }));
  assert.equal(reply.stop_reason, 'tool_use');
  const [call, ...others] = callsOf(reply);
  assert.deepEqual([call.name, others], ['weather_of', []]);
  assert.ok('city' in call.input);
  assert.match(call.id, /^[A-Za-z0-9_-]{1,64}$/);
  assert.ok(reply.content.every(({ type, text }) => type !== 'text' || text));
  const plain = await create(asks('Hello', model, { tools: TOOLS }));
  assert.ok(plain.stop_reason === 'end_turn' && textOf(plain) && !called(plain).length);
  const tools = [{ name: 'now', input_schema: { type: 'object', properties: {} } }];
  assert.deepEqual(called(await create(asks('now', model, { tools }))), ['now']);
});

feature('parallel', { needs: 'tools' }, async (model) => {
  const request = asks('Use weather_of and time_in', model, { tools: TOOLS });
  const [whole, last] = [await create(request), await finalOf(request)];
  const inputs = deltas(await eventsOf(request), 'input_json_delta', 'partial_json');
  assert.equal(inputs.split('city').length, 3);
  for (const each of [whole, last]) {
    assert.deepEqual([called(each), each.stop_reason], [BOTH, 'tool_use']);
    const [weather, clock] = callsOf(each);
    assert.ok('city' in weather.input && 'city' in clock.input && weather.id !== clock.id);
  }
  assert.deepEqual(callsOf(whole).map((c) => c.input), callsOf(last).map((c) => c.input));
});

feature('tool loop', { needs: 'tools' }, async (model) => {
  const request = asks('Use weather_of and time_in', model, { tools: TOOLS });
  for (const kept of [turn, bareTurn]) {
    const asked = await create(request);
    const [weather, clock] = callsOf(asked);
    const noon = result(clock, [{ type: 'text', text: 'noon' }]);
    const results = [noon, result(weather, 'sunny', { is_error: false })];
    const messages = [...request.messages, kept(asked), user(results)];
    const last = await create({ ...request, messages });
    assert.ok(last.stop_reason === 'end_turn' && !called(last).length);
    assert.match(textOf(last), /sunny/);
    assert.match(textOf(last), /noon/);
    assert.equal(textOf(await finalOf({ ...request, messages })), textOf(last));
    messages.push(kept(last), user(prompt('Now time_in again')));
    assert.deepEqual(called(await create({ ...request, messages })), ['time_in']);
  }
});

// Failures, results without content, a text beside them, and a conversation that another model began.
feature('tool loop', { needs: 'tools' }, async (model) => {
  const ids = ['call_0123456789abcdefghijABCD', 'toolu_bdrk_01AbCdEfGhIjKlMnOpQrStUv'];
  const calls = ids.map((id, n) => ({ type: 'tool_use', id, name: BOTH[n], input: n ? { city: 'Rome' } : {} }));
  const said = { role: 'assistant', content: [{ type: 'text', text: 'Let me see.' }, ...calls] };
  const failed = result(calls[0], 'no such city', { is_error: true });
  const empty = { type: 'tool_result', tool_use_id: ids[0] };
  const fine = result(calls[1], 'noon');
  for (const results of [[failed, fine], [empty, fine]]) {
    const messages = [user(prompt('Well?')), said, user(results)];
    for (const more of [{}, { tools: TOOLS }]) {
      assert.match(textOf(await create(asks('', model, { messages, ...more }))), /noon/);
    }
  }
  const reminder = { type: 'text', text: '<system-reminder>Go on.</system-reminder>' };
  const messages = [user(prompt('Well?')), said, user([failed, fine, reminder])];
  assert.ok(textOf(await create(asks('', model, { messages, tools: TOOLS }))));
});

feature('images in results', { needs: 'tools' }, async (model) => {
  const request = asks('Use weather_of', model, { tools: TOOLS });
  const asked = await create(request);
  const seen = result(callsOf(asked)[0], [{ type: 'text', text: 'a picture' }, IMAGE]);
  request.messages.push(turn(asked), user([seen]));
  if (lacks(model, 'vision')) {
    const error = await caught(Anthropic.BadRequestError, () => create(request));
    assert.match(error.apiMessage, /image/);
  } else {
    const last = await create(request);
    assert.ok(last.stop_reason === 'end_turn' && textOf(last));
  }
});

feature('tool choice', { needs: 'tools' }, async (model) => {
  for (const [text, tool_choice, expected] of [
    ['weather_of and time_in', { type: 'none' }, []],
    ['Hello', { type: 'auto' }, []],
    ['Hello', { type: 'any' }, ['weather_of']],
    ['Hello', { type: 'tool', name: 'time_in' }, ['time_in']],
  ]) {
    assert.deepEqual(called(await create(asks(text, model, { tools: TOOLS, tool_choice }))), expected);
  }
});

feature('one call at a time', { needs: 'tools' }, async (model) => {
  for (const [disable_parallel_tool_use, expected] of [
    [false, BOTH],
    [true, ['weather_of']],
  ]) {
    const tool_choice = { type: 'auto', disable_parallel_tool_use };
    const reply = await create(asks('weather_of and time_in', model, { tools: TOOLS, tool_choice }));
    assert.deepEqual([called(reply), reply.stop_reason], [expected, 'tool_use']);
  }
});

// Turn by turn with exact inputs; by hand, and as the SDK's runner does it.
feature('agent', { needs: 'tools' }, async (model) => {
  const [one, two] = [{ city: 'Rome' }, { city: 'Zürich "West"\n' }];
  const turns = [[['weather_of', one]], [['time_in', one], ['weather_of', two]], [['time_in', two]]];
  const request = asks('Do it', model, { fault: script(...turns), tools: TOOLS, ...THINKS });
  const messages = [...request.messages];
  const done = [];
  let reply = await create({ ...request, messages });
  while (reply.stop_reason === 'tool_use' && done.length < 5) {
    done.push(callsOf(reply).map(({ name, input }) => [name, input]));
    messages.push(turn(reply), user(callsOf(reply).map((call) => result(call, `result ${done.length}`))));
    reply = await create({ ...request, messages });
  }
  assert.deepEqual(done, turns);
  assert.match(textOf(reply), /result 3/);
  const seen = [];
  const tools = [
    ['weather_of', 'sunny'],
    ['time_in', 'noon'],
  ].map(([name, answer]) => {
    const run = (input) => {
      seen.push([name, input]);
      return answer;
    };
    return betaZodTool({ name, description: name, inputSchema: z.object({ city: z.string() }), run });
  });
  const last = await client.beta.messages.toolRunner({ ...asks('Do it', model, { fault: script(...turns) }), tools });
  assert.match(textOf(last), /noon/);
  assert.deepEqual(seen, turns.flat());
});

feature('vision', { needs: 'vision' }, async (model) => {
  assert.match(textOf(await create(asks('What is this?', model, { parts: [IMAGE] }))), /I see 1 image\./);
  const two = asks('And these?', model, { parts: [IMAGE, IMAGE] });
  assert.match(textOf(await create(two)), /I see 2 images\./);
});

feature('documents', { needs: 'documents' }, async (model) => {
  const request = asks('What is it?', model, { parts: [DOCUMENT] });
  assert.match(textOf(await create(request)), /You said: "What is it\?"\. I read 1 document\./);
});

// As such, or as a text.
feature('text documents', async (model) => {
  const text = textOf(await create(asks('What is it?', model, { parts: [NOTE] })));
  assert.match(text, /What is it\?/);
  assert.match(text, /The sky is green\.|I read 1 document\./);
});

feature('json_schema', async (model) => {
  const request = asks('An invoice, please', model, FORMAT);
  const whole = await client.messages.parse(request);
  assert.ok(INVOICE.safeParse(whole.parsed_output).success);
  assert.equal(whole.stop_reason, 'end_turn');
  const last = await finalOf(request);
  assert.deepEqual([last.parsed_output, last.stop_reason], [whole.parsed_output, 'end_turn']);
  assert.deepEqual(called(last), []);
});

feature('json_schema', { needs: 'tools' }, async (model) => {
  const more = { ...FORMAT, tools: TOOLS };
  assert.deepEqual(called(await create(asks('Use time_in', model, more))), ['time_in']);
  const text = textOf(await create(asks('An invoice, please', model, more)));
  assert.ok(INVOICE.safeParse(JSON.parse(text)).success, text);
});

feature('thinking', async (model) => {
  for (const more of [THINKS, ADAPTS]) {
    const request = asks('Think', model, more);
    const [whole, last] = [await create(request), await finalOf(request)];
    assert.match(textOf(whole), /You said: "Think"\./);
    assert.equal(Boolean(thoughtOf(whole)), CHAT[model].reasons === 'shown');
    const kinds = whole.content.map((block) => block.type).join();
    assert.ok(['text', 'thinking,text'].includes(kinds), kinds);
    assert.ok(whole.content.every(({ type, signature }) => type !== 'thinking' || signature !== undefined));
    const events = await eventsOf(request);
    assert.equal(deltas(events, 'thinking_delta', 'thinking'), thoughtOf(whole));
    const signed = ({ content }) => content.map(({ type, signature }) => [type, signature]);
    assert.deepEqual(signed(last), signed(whole));
  }
});

// With settings that Anthropic's own refuses beside it, and with as much as coding agents ask for.
feature('thinking', async (model) => {
  const deep = { thinking: { type: 'enabled', budget_tokens: 31999 }, max_tokens: 32000 };
  const text = deltas(await eventsOf(asks('Think', model, deep)), 'text_delta', 'text');
  assert.match(text, /You said: "Think"\./);
  for (const effort of ['low', 'medium', 'high', 'max']) {
    assert.ok((await create(asks('Think', model, { output_config: { effort } }))).content);
  }
});

feature('thinking + tools', { needs: 'tools' }, async (model) => {
  for (const more of [THINKS, ADAPTS]) {
    const request = asks('Use weather_of and time_in', model, { tools: TOOLS, ...more });
    for (const kept of [turn, bareTurn]) {
      const messages = [...request.messages];
      for (let round = 0; round < 2; round++) {
        const reply = await create({ ...request, messages });
        assert.deepEqual(called(reply), BOTH);
        messages.push(kept(reply), user(callsOf(reply).map((call) => result(call, 'fine'))));
        const last = await create({ ...request, messages });
        assert.match(textOf(last), /The tool says: fine · fine/);
        messages.push(kept(last), ...request.messages);
      }
    }
    const reply = await finalOf(request);
    const results = user(callsOf(reply).map((call) => result(call, 'fine')));
    const messages = [...request.messages, turn(reply), results];
    assert.match(textOf(await finalOf({ ...request, messages })), /fine · fine/);
  }
});

/** A conversation that this model began, with all that it said. */
async function begun(model) {
  const request = asks('Use weather_of and time_in', model, { tools: TOOLS, ...THINKS });
  const reply = await create(request);
  return [...request.messages, turn(reply), user(callsOf(reply).map((call) => result(call, 'fine')))];
}

// Back and forth: what the first said goes to the second, and what that said with it to the first.
feature('change of model', async (model) => {
  const more = { tools: TOOLS, ...THINKS };
  for (const other of Object.keys(CHAT).filter((name) => !lacks(name, 'tools'))) {
    const messages = await begun(other);
    const reply = await create(asks('', model, { messages, ...(lacks(model, 'tools') ? {} : more) }));
    assert.match(textOf(reply), /fine/, other);
    messages.push(turn(reply), user(prompt('Now time_in')));
    assert.deepEqual(called(await create(asks('', other, { messages, ...more }))), ['time_in'], other);
  }
});

feature('length', async (model) => {
  const request = asks('A long tale', model, { max_tokens: 16 });
  const [reply, last] = [await create(request), await finalOf(request)];
  assert.equal(reply.stop_reason, 'max_tokens');
  assert.ok(0 < reply.usage.output_tokens && reply.usage.output_tokens <= 16);
  assert.deepEqual([last.stop_reason, textOf(last)], ['max_tokens', textOf(reply)]);
});

feature('stop', { needs: 'stop' }, async (model) => {
  for (const stop_sequences of [['HALT'], ['never said', 'HALT']]) {
    const request = asks('Come HALT go', model, { stop_sequences });
    const [reply, last] = [await create(request), await finalOf(request)];
    assert.equal(textOf(reply).trim(), 'You said: "Come');
    const end = `${reply.stop_reason} ${reply.stop_sequence}`;
    const ends = ['stop_sequence HALT', ...(isClaude(model) ? [] : ['end_turn null'])];
    assert.ok(ends.includes(end), end);
    assert.deepEqual([textOf(last), `${last.stop_reason} ${last.stop_sequence}`], [textOf(reply), end]);
  }
});

feature('errors', async (model) => {
  for (const more of [{ messages: [] }, { max_tokens: 'many' }, { stream: 'yes' }, { messages: 'Hi' }]) {
    const error = await caught(Anthropic.BadRequestError, () => create(asks('Hello', model, more)));
    assert.equal(error.type, 'invalid_request_error');
  }
  for (const [fault, kind, name] of [
    ['status=400', Anthropic.BadRequestError, 'invalid_request_error'],
    ['status=413', Anthropic.ContentTooLargeError, 'request_too_large'],
    ['status=429 retry_after=7', Anthropic.RateLimitError, 'rate_limit_error'],
    ['status=500', Anthropic.InternalServerError, 'api_error'],
    ['status=503', Anthropic.InternalServerError, 'overloaded_error'],
    ['status=529', Anthropic.InternalServerError, 'overloaded_error'],
    ['no_answer', Anthropic.InternalServerError, 'api_error'],
  ]) {
    for (const stream of [false, true]) {
      const error = await caught(kind, () => create(asks('Hello', model, { fault, stream })));
      assert.deepEqual([error.type, error.error.type], [name, 'error'], fault);
      assert.ok(error.apiMessage && error.requestID && error.requestID === error.error.request_id);
      if (error.status === 429) assert.equal(error.headers.get('retry-after'), '7');
    }
  }
  const refused = () => create(asks('Hello', model, { fault: 'status=403' }));
  const error = await caught(Anthropic.InternalServerError, refused);
  assert.equal(error.status, 502);
  assert.match(error.message, /service key/);
});

feature('errors in streams', async (model) => {
  // Nothing was sent yet, so it can still be the status that it means to the vendor.
  const first = () => create(asks('Hello', model, { fault: 'error_after=0', stream: true }));
  const error = await caught(Anthropic.APIError, first);
  assert.ok(error.status === 429 || error.status >= 500);
  for (const fault of ['error_after=20', 'cut_after=20', 'end_after=20']) {
    const request = asks('Hello', model, { fault: `frames=500 pause_ms=1 ${fault}` });
    const seen = [];
    const { type, apiMessage } = await caught(Anthropic.APIError, async () => {
      for await (const event of await create({ ...request, stream: true })) seen.push(event);
    });
    const kinds = ['api_error', 'overloaded_error', 'rate_limit_error', 'timeout_error'];
    assert.ok(kinds.includes(type) && apiMessage, `${fault}: ${type}`);
    assert.match(deltas(seen, 'text_delta', 'text'), /^word1 word2 /, fault);
    assert.ok(seen.every((e) => !['message_delta', 'message_stop'].includes(e.type)), fault);
  }
  const request = asks('Hello', model, { fault: 'frames=500 pause_ms=1 end_after=20' });
  await caught(Anthropic.APIError, () => finalOf(request));
});

// What a vendor does not have is refused by name, or left out by name, and nothing silently.
feature.refused(LEAST, async (model, ability, field) => {
  for (const stream of [false, true]) {
    const ask = () => create(asks('Hello', model, { ...LEAST[ability], stream }));
    if (CHAT[model].drops?.includes(ability)) {
      const { response } = await ask().withResponse();
      assert.ok(response.headers.get('x-proxy-dropped').includes(field));
      continue;
    }
    const error = await caught(Anthropic.BadRequestError, ask);
    assert.ok(error.apiMessage.includes(field), error.apiMessage);
  }
});
