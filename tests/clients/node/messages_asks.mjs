// Requests to the Messages API as people write them, and what is read from the answers. messages_asks.py is the same for
// Python.

import assert from 'node:assert/strict';
import { PDF, PIXEL, prompt } from './asks.mjs';

export const IMAGE = {
  type: 'image',
  source: { type: 'base64', media_type: 'image/png', data: PIXEL.split(',')[1] },
};
export const DOCUMENT = {
  type: 'document',
  title: 'A paper',
  source: { type: 'base64', media_type: 'application/pdf', data: PDF.split(',')[1] },
};
export const NOTE = {
  type: 'document',
  title: 'A note',
  source: { type: 'text', media_type: 'text/plain', data: 'The sky is green.' },
};
export const TOOLS = [
  ['weather_of', 'weather'],
  ['time_in', 'time'],
].map(([name, what]) => ({
  name,
  description: `Tells the ${what} of a city`,
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}));
export const THINKS = { thinking: { type: 'enabled', budget_tokens: 1024 } };
export const ADAPTS = { thinking: { type: 'adaptive' }, output_config: { effort: 'low' } };

export const user = (content) => ({ role: 'user', content });

export function asks(text, model, { fault, parts, ...more } = {}) {
  const asked = prompt(text, fault);
  const content = parts ? [...parts, { type: 'text', text: asked }] : asked;
  return { model, max_tokens: 4000, messages: [user(content)], ...more };
}

/** An answer as it goes back, with all its blocks. */
export const turn = ({ content }) => ({ role: 'assistant', content });

/** What a client keeps that knows texts and calls only. */
export function bareTurn({ content }) {
  const kept = content.flatMap(({ type, text, id, name, input }) => {
    if (type === 'text') return [{ type, text }];
    return type === 'tool_use' ? [{ type, id, name, input }] : [];
  });
  return { role: 'assistant', content: kept };
}

export const result = (call, content, more) => {
  return { type: 'tool_result', tool_use_id: call.id, content, ...more };
};

const joined = (type, field) => (message) => {
  return message.content.map((block) => (block.type === type ? block[field] : '')).join('');
};
export const textOf = joined('text', 'text');
export const thoughtOf = joined('thinking', 'thinking');
export const callsOf = (message) => message.content.filter((block) => block.type === 'tool_use');
export const called = (message) => callsOf(message).map((call) => call.name);

/** What the demo's model is to call, turn by turn: each a list of names and inputs. */
export function script(...turns) {
  const word = ([name, input]) => `${name}:${Buffer.from(JSON.stringify(input)).toString('base64url')}`;
  return ['pause_ms=0', ...turns.map((calls) => `call=${calls.map(word).join(',')}`)].join(' ');
}

/** The events of a stream, which have to be in order. */
export function checked(events) {
  const kinds = events.map((event) => event.type).filter((type) => type !== 'ping');
  assert.equal(kinds[0], 'message_start');
  assert.deepEqual(kinds.slice(-2), ['message_delta', 'message_stop']);
  const { message } = events[0];
  assert.deepEqual([message.content, message.stop_reason, message.role], [[], null, 'assistant']);
  assert.ok(message.id && message.usage.input_tokens >= 0);
  let blocks = -1;
  let isOpen = false;
  for (const { type, index, content_block } of events) {
    if (type === 'content_block_start') {
      assert.ok(!isOpen && index === blocks + 1);
      [blocks, isOpen] = [index, true];
      const { text = '', thinking = '', input = {} } = content_block;
      assert.deepEqual([text, thinking, input], ['', '', {}]);
    } else if (type.startsWith('content_block_')) {
      assert.ok(isOpen && index === blocks);
      isOpen = type !== 'content_block_stop';
    }
  }
  assert.ok(!isOpen);
  return events;
}

export function deltas(events, type, field) {
  return events.map(({ delta }) => (delta?.type === type ? delta[field] : '')).join('');
}
