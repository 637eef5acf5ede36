// Requests to the Responses API as people write them, and what is read from the answers. responses_asks.py is the same for
// Python.

import assert from 'node:assert/strict';
import { PDF, PIXEL, TOOLS as CHAT_TOOLS, prompt } from './asks.mjs';

export const IMAGE = { type: 'input_image', image_url: PIXEL, detail: 'auto' };
export const DOCUMENT = { type: 'input_file', filename: 'paper.pdf', file_data: PDF };
export const TOOLS = CHAT_TOOLS.map((tool) => ({ type: 'function', ...tool.function, strict: false }));
export const PATCH = { type: 'custom', name: 'apply_patch', description: 'Changes files' };
const definition = 'start: "*** Begin Patch" LF /(.|\\n)+/ "*** End Patch" LF?\n%import common.LF\n';
export const PATCH_BY_GRAMMAR = { ...PATCH, format: { type: 'grammar', syntax: 'lark', definition } };
export const SEARCH = { type: 'web_search', search_context_size: 'low' };
export const THINKS = { reasoning: { effort: 'low', summary: 'auto' } };
export const SEALED = { include: ['reasoning.encrypted_content'], store: false };
export const MENDED =
  '*** Begin Patch\n*** Update File: "a b".rs\n@@\n-\told \\n\n+\tnëw 👋 \\u00e9 \u2028\n*** End Patch\n';
const ENDS = ['response.completed', 'response.incomplete', 'response.failed'];

// What comes between an item's `added` and its `done`: of each part of it, or of the whole item.
const STEPS = {
  message: ['content_part.added', 'output_text.delta', 'output_text.done', 'content_part.done'],
  reasoning: [
    'reasoning_summary_part.added',
    'reasoning_summary_text.delta',
    'reasoning_summary_text.done',
    'reasoning_summary_part.done',
  ],
  function_call: ['function_call_arguments.delta', 'function_call_arguments.done'],
  custom_tool_call: ['custom_tool_call_input.delta', 'custom_tool_call_input.done'],
};
// What an item's id begins with.
const IDS = { message: 'msg_', reasoning: 'rs_', function_call: 'fc_', custom_tool_call: 'ctc_' };

export const user = (content) => ({ role: 'user', content });

export function asks(text, model, { fault, parts, ...more } = {}) {
  const asked = prompt(text, fault);
  const input = parts ? [user([{ type: 'input_text', text: asked }, ...parts])] : asked;
  return { model, input, ...more };
}

/** Of a function or a custom tool. */
export const result = (call, output) => ({ type: `${call.type}_output`, call_id: call.call_id, output });

export const itemsOf = (response, kind) => response.output.filter(({ type }) => type === kind);
export const callsOf = (response) => itemsOf(response, 'function_call');
export const called = (response) => callsOf(response).map(({ name }) => name);

export function thoughtOf(response) {
  return itemsOf(response, 'reasoning')
    .flatMap(({ summary }) => summary.map(({ text }) => text))
    .join('');
}

/** What a client keeps that knows texts and calls only. */
export function bare(response) {
  const texts = response.output_text ? [{ role: 'assistant', content: response.output_text }] : [];
  const calls = callsOf(response).map(({ type, call_id, name, arguments: json }) => {
    return { type, call_id, name, arguments: json };
  });
  return [...texts, ...calls];
}

/** The texts of an item's parts, or its one text. */
function textsOf({ type, content, summary, arguments: json, input }) {
  if (type === 'message') return content.map(({ text }) => text);
  if (type === 'reasoning') return summary.map(({ text }) => text);
  return [type === 'function_call' ? json : input];
}

export function deltas(events, kind) {
  return events.map(({ type, delta }) => (type === `response.${kind}.delta` ? delta : '')).join('');
}

/** The events of a stream, which have to be in order. */
export function checked(events) {
  begun(events);
  const items = [];
  let item = null;
  let steps = [];
  let texts = [];
  for (const event of events.slice(2, -1)) {
    const step = event.type.replace('response.', '');
    const what = JSON.stringify(event);
    assert.equal(event.output_index, items.length, what);
    if (step === 'output_item.added') {
      assert.ok(!item && textsOf(event.item).every((text) => !text), what);
      ({ item } = event);
      [steps, texts] = [[], []];
      assert.ok(item.id.startsWith(IDS[item.type]), what);
    } else if (step === 'output_item.done') {
      assert.deepEqual([event.item.id, event.item.type], [item.id, item.type]);
      assert.deepEqual(textsOf(event.item), texts);
      steps.forEach((had, index) => {
        const wanted = STEPS[item.type].filter((name) => texts[index] || !name.endsWith('.delta'));
        assert.deepEqual(had, wanted);
      });
      items.push(event.item);
      item = null;
    } else {
      assert.equal(event.item_id, item.id, what);
      const index = event.content_index ?? event.summary_index ?? 0;
      const had = (steps[index] ??= []);
      texts[index] ??= '';
      if (had.at(-1) !== step) had.push(step);
      if (step.endsWith('.delta')) {
        texts[index] += event.delta;
      } else {
        const { text, arguments: json, input } = event.part ?? event;
        assert.equal(text ?? json ?? input, texts[index], what);
      }
    }
  }
  assert.equal(item, null);
  assert.deepEqual(items, events.at(-1).response.output);
  return events;
}

/** Events up to one end, whatever it is and whatever was open then. */
export function begun(events) {
  const kinds = events.map(({ type }) => type);
  assert.deepEqual(kinds.slice(0, 2), ['response.created', 'response.in_progress']);
  assert.deepEqual(kinds.filter((kind) => ENDS.includes(kind)), [kinds.at(-1)]);
  const numbers = events.map((event) => event.sequence_number);
  assert.equal(numbers[0], 0);
  assert.ok(numbers.every((number, n) => n === 0 || number > numbers[n - 1]), `${numbers}`);
  const [first, last] = [events[0].response, events.at(-1).response];
  assert.deepEqual([first.status, first.output, first.usage], ['in_progress', [], null]);
  assert.equal(last.status, kinds.at(-1).replace('response.', ''));
  assert.deepEqual([events[1].response.id, last.id], [first.id, first.id]);
  return events;
}
